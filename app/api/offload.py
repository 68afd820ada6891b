"""Serves large admin calls in a separate process: `python -m app.api.offload`.

A gateway is one thread. If it computed itself what a call changes for a thousand users,
it could serve no socket in that time. After some seconds its own users would go
offline. So the gateway starts another process for such a call, with a lower priority.
The greenlet of the request waits for that process, as it waits for a database.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Response, current_app, request
from gevent.lock import Semaphore
from sqlalchemy import func, select
from werkzeug import Response as BaseResponse

from app.gateway.metrics import METRICS_FOLDER
from app.services import services
from config import PROJECT_ROOT, Settings
from models.identifiers import USER_ID
from models.sql.audience import friends_of, participants_of
from models.sql.conversation import participant_table
from models.sql.sql_arrays import among, text_list
from models.telemetry import causes, logs
from tasks.celery_app import NICENESS

MAX_PAIRS = 5_000
"""The most pairs of users that a gateway computes itself. This takes about 30 ms, in
which it does nothing else."""
MAX_BYTES = 8 * 1024
"""The largest body of a bulk call that a gateway serves itself: about a hundred
rows."""
MAX_MEMBERS = 100
"""A gateway serves a bulk call itself only if the conversations in it have at most this
many members together, both before and after the call."""
MAX_DELETED_USERS = 10
"""The most users that a bulk call deletes, if a gateway serves the call itself. Each of
them may have a large audience."""
MAX_FRIENDS_CHANGED = 200
"""The most friends that are added or removed, if a gateway replaces the friends of a
user itself. This takes about 20 ms."""

_PLAIN = (str, int, bool, tuple)
_OFFLOADED = "GREENDOT_OFFLOADED"
_FACTORY = "GREENDOT_FACTORY"
# Each process takes 76 MB, and more for its work. So only one runs at a time.
_one_at_a_time = Semaphore()


def register(app: Flask, factory: Callable[[Settings], Flask]) -> None:
    """Let separate processes serve large calls of `app`. They make their own
    application with `factory`, a function that they can import by its name."""
    app.config[_FACTORY] = factory


# Which calls are large


def is_large_conversation(conversation_id: str) -> bool:
    """Whether the current call changes too many pairs of users. All members of a
    conversation see each other. So a user who joins or leaves changes one pair with
    each member."""
    if not _ids([conversation_id]):
        return False
    new = _ids(_fields().get("participants"))
    with services().database.connect() as reader:
        old = participants_of(reader, conversation_id) or set()
    return len(old ^ new) * max(len(old), len(new)) > MAX_PAIRS


def is_large_bulk() -> bool:
    """Whether the current bulk call is too large for a gateway."""
    if len(request.get_data()) > MAX_BYTES:
        return True
    fields = _fields()
    named = fields.get("conversations")
    listed = named if isinstance(named, list) else []
    records = [one for one in listed if isinstance(one, dict)]
    new = sum(len(_ids(one.get("participants"))) for one in records)
    ids = _ids([one.get("id") for one in records])
    deleted = fields.get("delete")
    if isinstance(deleted, dict):
        if len(_ids(deleted.get("users"))) > MAX_DELETED_USERS:
            return True
        ids |= _ids(deleted.get("conversations"))
    return new > MAX_MEMBERS or _members_of(ids) > MAX_MEMBERS


def is_large_list_of_friends(user_id: str) -> bool:
    """Whether the current call gives a user too many new friends, or takes too many
    away. A list without many changes may be long: a host may send it at each
    sign-in."""
    listed = _fields().get("friends")
    if not isinstance(listed, list) or not _ids([user_id]):
        return False
    with services().database.connect() as reader:
        old = friends_of(reader, [user_id])[user_id]
    return len(old ^ _ids(listed)) > MAX_FRIENDS_CHANGED


def _members_of(conversation_ids: set[str]) -> int:
    if not conversation_ids:
        return 0
    count = (
        select(func.count())
        .select_from(participant_table)
        .where(among(participant_table.c.conversation_id, text_list("ids")))
    )
    with services().database.connect() as reader:
        found: int = reader.scalar(count, {"ids": list(conversation_ids)}) or 0
    return found


def _fields() -> dict[str, Any]:
    """The body as a JSON object. If it is not one, the result is empty, and the route
    reports the error later."""
    try:
        fields = orjson.loads(request.get_data() or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _ids(values: object) -> set[str]:
    """The items of `values` that are valid ids."""
    listed = values if isinstance(values, list) else []
    texts = [value for value in listed if isinstance(value, str)]
    return set(filter(USER_ID.fullmatch, texts))


# The gateway's side


def is_offloaded() -> bool:
    """Whether this is the separate process of a large call."""
    return bool(current_app.config.get(_OFFLOADED))


def serve_offloaded() -> Response:
    """Serve the current request in a separate process. If another one is running, wait
    for its end first.

    Raises:
        RuntimeError: the process gave no answer. Its transaction is rolled back.
    """
    body = request.get_data()
    environ = {k: v for k, v in request.environ.items() if isinstance(v, _PLAIN)}
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["HTTP_X_REQUEST_ID"] = causes.current_request()
    # The process is not a gateway, so it must not write a gateway's metrics.
    variables = {k: v for k, v in os.environ.items() if k != METRICS_FOLDER}
    call = current_app.config[_FACTORY], services().settings, environ, body
    with (
        _one_at_a_time,
        subprocess.Popen(
            [sys.executable, "-m", "app.api.offload"],
            cwd=PROJECT_ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            # Its stdin stays open. If this gateway ends first, the pipe breaks, and the
            # other process ends too.
            pickle.dump(call, process.stdin)
            process.stdin.flush()
            answer = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    if not answer:
        message = f"a large request was not served: exit code {process.returncode}"
        raise RuntimeError(message)
    status, headers, content = pickle.loads(answer)  # noqa: S301 - from our own process
    return Response(content, status, headers)


# The other process's side


def main() -> None:
    """Serve the request on standard input, and write the answer to standard output."""
    os.nice(NICENESS)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # `print` must not mix with it
    # A pickled function is only a name. Loading the factory imports the application.
    factory, settings, environ, body = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.configure(settings)
    response = _served(factory(settings), environ, body)
    pickle.dump((response.status, list(response.headers), response.data), out)
    out.flush()


def _served(app: Flask, environ: dict[str, Any], body: bytes) -> BaseResponse:
    app.config[_OFFLOADED] = True
    environ |= {"wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr}
    return Response.from_app(app, environ, buffered=True)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent has closed the pipe
    os._exit(1)


if __name__ == "__main__":
    main()
