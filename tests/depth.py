"""Counts our functions and files that a heartbeat and a connect go through.

    python -m tests.depth

`heartbeat` is the way from a heartbeat's bytes to the bytes of the flush on the socket
to Redis. `connect` is the way from the end of a handshake to the bytes on a friend's
socket. Each way has handovers: a call notes something or sends bytes, and a loop, a
server or a task goes on with it. The trace follows the real calls, on a real gateway
with a real Valkey and a real database.

There are two counts. `called` has every function of app, tasks and models that runs on
the way, once each. `nested` has only the functions that have not returned yet at a
handover. A reader follows these from one file to the next. The others are helpers.
"""

from __future__ import annotations

import _socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import gevent
import gevent.socket

from app.gateway.client_connection import ClientConnection
from app.gateway.gateway import Gateway
from app.new_users import NewUsers
from app.revocations import Revocations
from app.server.answer_socket import TakenSocket, detached
from app.tokens import Identity, Tokens
from config import PROJECT_ROOT, Settings
from models.presence import Presence
from tasks import broadcast, celery_app, resources
from tests.databases import friends_in
from tests.gateway.client import close_ours
from tests.servers import RedisServer, any_server_command

OURS = tuple(f"{PROJECT_ROOT / package}/" for package in ("app", "tasks", "models"))
HEARTBEAT = b"\x81\x95\x00\x00\x00\x00" + b'{"event":"heartbeat"}'

Function = tuple[str, str]
"""A file and a name."""
Stop = Callable[[FrameType, str, Any], bool]


@dataclass
class Way:
    """Functions with their files, each list in the order of the first calls."""

    called: list[Function] = field(default_factory=list)
    nested: list[Function] = field(default_factory=list)

    @contextmanager
    def traced_until(self, stop: Stop) -> Iterator[None]:
        """Add the functions that are called in this block, until `stop` is true."""
        stopped = False

        def watch(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal stopped
            if event == "call":
                _add(self.called, [frame])
            stopped = stop(frame, event, argument)
            if stopped or _is_handover(event, argument):
                _add(self.nested, _stack(frame))
            if stopped:
                sys.setprofile(None)

        sys.setprofile(watch)
        try:
            yield
        finally:
            sys.setprofile(None)
        assert stopped, f"the trace did not come to its end: {self.called}"


def files(functions: list[Function]) -> list[str]:
    """The files of `functions`, in the same order."""
    return list(dict.fromkeys(file for file, _ in functions))


def _stack(frame: FrameType | None) -> list[FrameType]:
    """The calls under way, outermost first."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack[::-1]


def _add(functions: list[Function], frames: list[FrameType]) -> None:
    for frame in frames:
        code = frame.f_code
        # A comprehension is a part of its function.
        is_part = code.co_name.startswith("<") and code.co_name != "<lambda>"
        if not code.co_filename.startswith(OURS) or is_part:
            continue
        file = str(Path(code.co_filename).relative_to(PROJECT_ROOT))
        if (file, code.co_qualname) not in functions:
            functions.append((file, code.co_qualname))


def _is_handover(event: str, argument: Any) -> bool:
    """Whether bytes go to a socket, or a statement to the database."""
    if event != "c_call":
        return False
    owner = getattr(argument, "__self__", None)
    return (
        isinstance(owner, _socket.socket) and argument.__name__ in {"send", "sendall"}
    ) or (isinstance(owner, sqlite3.Cursor) and argument.__name__ == "execute")


def returned(file: str, name: str) -> Stop:
    """Stop when the function `name` in a file of that name has returned."""

    def stop(frame: FrameType, event: str, _argument: object) -> bool:
        code = frame.f_code
        return (
            event == "return"
            and code.co_name == name
            and code.co_filename.endswith(f"/{file}")
        )

    return stop


def sent(descriptor: int | None = None) -> Stop:
    """Stop when bytes are handed to a socket: to the one with that file descriptor."""

    def stop(_frame: FrameType, event: str, argument: Any) -> bool:
        return (
            _is_handover(event, argument)
            and isinstance(argument.__self__, _socket.socket)
            and descriptor in {None, argument.__self__.fileno()}
        )

    return stop


class Stage:
    """A gateway whose loops are run step by step, with its Redis and its database."""

    def __init__(self, stack: ExitStack) -> None:
        server = stack.enter_context(closing(RedisServer(any_server_command())))
        server.start()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(friends_in(folder, ("ann", "bob")))
        settings = Settings(
            database_url=str(engine.url),
            redis_url=server.url,
            broker_url=server.url,
            jwt_secret="s" * 32,
            service_key=None,
        )
        celery_app.configure(settings)
        presence = Presence.open(settings)
        for patch in (
            mock.patch.object(resources, "presence", return_value=presence),
            mock.patch.object(resources, "database", return_value=engine),
            mock.patch.object(broadcast.drain_transitions, "apply_async"),
        ):
            stack.enter_context(patch)
        self._stack = stack
        tokens = Tokens(settings, Revocations(engine))
        self.gateway = Gateway(settings, presence, engine, NewUsers(engine), tokens)
        self.gateway.heartbeats[0].flush()

    def connection(self, user_id: str, says: bytes = b"") -> ClientConnection:
        """A connection whose client sends `says`, and reads nothing."""
        ours, theirs = map(self._stack.enter_context, gevent.socket.socketpair())
        theirs.sendall(says)
        taken = TakenSocket(detached(ours))
        connection = self.gateway.new_connection(taken, Identity(user_id, None))
        self._stack.callback(close_ours, connection)
        return connection

    def opened(self, user_id: str, says: bytes = b"") -> ClientConnection:
        """An open connection that has its snapshot."""
        connection = self.connection(user_id, says)
        self.gateway.sessions[0].connect(connection)
        self.gateway.connects[0].step()
        self.gateway.snapshots.step()
        self.deliver()
        return connection

    def deliver(self) -> None:
        """Do what the worker does, and what the event reader does."""
        broadcast.drain_transitions()
        gevent.with_timeout(3, self.gateway.event_reader.step, timeout_value=None)


def heartbeat_way(stage: Stage) -> Way:
    """From the bytes of a heartbeat to the bytes for Redis."""
    way = Way()
    connection = stage.opened("ann", HEARTBEAT)
    with way.traced_until(returned("shard_session.py", "heartbeat")):
        connection._readable()
    with way.traced_until(sent()):
        stage.gateway.heartbeats[0].flush()
    return way


def connect_way(stage: Stage) -> Way:
    """From the end of ann's handshake to the bytes for her friend bob."""
    way, gateway = Way(), stage.gateway
    friend = stage.opened("bob")
    connection = stage.connection("ann")

    with way.traced_until(returned("shard_session.py", "connect")):
        gateway.serve(connection)
    with way.traced_until(returned("shard_session.py", "request_drain")):
        gateway.connects[0].step()
    with way.traced_until(returned("broadcast.py", "request_drain")):
        gateway.sessions[0].drain_request_step()
    with way.traced_until(returned("fanout.py", "fan_out")):
        broadcast.drain_transitions()
    with way.traced_until(sent(friend._socket.fileno())):
        gateway.event_reader.step()
    return way


def ways() -> dict[str, Way]:
    """Both ways, by name, each traced on a stage of its own."""
    found = {}
    for name, trace in (("heartbeat", heartbeat_way), ("connect", connect_way)):
        with ExitStack() as stack:
            found[name] = trace(Stage(stack))
    return found


def main() -> None:
    """Print both ways, and their counts."""
    for name, way in ways().items():
        for kind, functions in (("nested", way.nested), ("called", way.called)):
            counts = f"{len(functions)} functions, {len(files(functions))} files"
            sys.stdout.write(f"{name}, {kind}: {counts}\n")
            for file, function in functions:
                sys.stdout.write(f"  {file:<40} {function}\n")


if __name__ == "__main__":
    main()
