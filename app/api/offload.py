"""Serves a large request in a process of its own: `python -m app.api.offload` for each.

A gateway is one thread. While it worked out what a call changes for a thousand users it
would serve no socket, and after some seconds its own users would be taken for gone. So
another process does that, which has nothing else to do and gives way to the gateway;
the greenlet of the request waits for it as it would for a database.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

from flask import Flask, Response, current_app, request
from gevent.lock import Semaphore
from werkzeug import Response as BaseResponse

from app.gateway.metrics import FOLDER
from app.services import services
from config import PROJECT_ROOT
from tasks.celery_app import NICENESS

_PLAIN = (str, int, bool, tuple)
_HERE = "GREENDOT_IS_APART"
_turn = Semaphore()  # each takes 76 MB and what it works with


def is_apart() -> bool:
    """Whether this process serves one large request, and nothing else."""
    return bool(current_app.config.get(_HERE))


def serve_apart() -> Response:
    """Serve the current request in a process of its own, one at a time.

    Raises:
        RuntimeError: that process gave no answer. What it was doing is rolled back.
    """
    body = request.get_data()
    environ = {k: v for k, v in request.environ.items() if isinstance(v, _PLAIN)}
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    # It is no gateway: it must not leave figures of one behind.
    variables = {k: v for k, v in os.environ.items() if k != FOLDER}
    with (
        _turn,
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
            # Its end stays open: where we end before it does, it ends as well.
            pickle.dump((services().settings, environ, body), process.stdin)
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


def main() -> None:
    """Serve the request that comes on standard input, and write the answer out."""
    os.nice(NICENESS)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for all that prints
    settings, environ, body = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent's
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    from app.factory import create_app  # noqa: PLC0415 - it imports us

    response = _served(create_app(settings), environ, body)
    pickle.dump((response.status, list(response.headers), response.data), out)
    out.flush()


def _served(app: Flask, environ: dict[str, Any], body: bytes) -> BaseResponse:
    app.config[_HERE] = True
    environ |= {"wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr}
    return Response.from_app(app, environ, buffered=True)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing more ever comes but its end
    os._exit(1)


if __name__ == "__main__":
    main()
