"""An echo route that only tests have: our handshake, and a connection that
sends every message back. `python -m tests.autobahn` and `test_rfc6455.py` talk to it.

gunicorn serves it: `serving()` starts one and says on which port.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import flask_sock

from app import errors
from app.factory import Greendot
from app.server.answer_socket import TakenSocket
from app.websocket.connection import Connection
from app.websocket.frames import _frame, text_frame
from app.websocket.handshake import Handshake
from app.websocket.writer import SocketCounts
from config import PROJECT_ROOT, Settings
from tests.servers import free_port

FINAL_BINARY = 0x82
PATH = "/ws"
"""That of the gateway: the path alone says that it takes handshakes."""
PLENTY = 64 * 1024 * 1024
"""Bytes of a message, and of what may wait. Autobahn sends messages of 16 MB."""


SETTINGS = Settings(
    database_url="",
    redis_url="",
    broker_url="",
    jwt_secret="",
    service_key=None,
    max_frame_bytes=PLENTY,
    max_queued_bytes=PLENTY,
    max_frames_per_second=1e9,
)


class Echo(Connection):
    """A connection that sends every message back."""

    def __init__(self, taken: TakenSocket) -> None:
        super().__init__(taken, SETTINGS, SocketCounts())
        self._before_open = None  # there is no welcome to wait for

    def on_message(self, message: str | bytes | bytearray) -> None:
        if message == "fail":
            raise RuntimeError(message)
        if isinstance(message, str):
            self.send(text_frame(message.encode()))
        else:
            self.send(_frame(FINAL_BINARY, bytes(message)))


app = Greendot(__name__)
errors.register(app)
flask_sock.Server = Handshake
sock = flask_sock.Sock(app)


@sock.route(PATH)
def echo(handshake: Handshake) -> None:
    """Send back what comes."""
    Echo(handshake.accept()).start()


@contextmanager
def serving(log: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[int]:
    """A gunicorn that serves this route by our worker class; yields its port."""
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "gunicorn"),
        *("--worker-class=app.server.worker.Worker", "--worker-connections=2000"),
        *(f"--bind=127.0.0.1:{port}", "tests.gateway.echo:app"),
    ]
    environ = {**os.environ, "PRESENCE_JWT_SECRET": "s" * 32}
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=environ, stdout=log, stderr=log
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert server.poll() is None, "gunicorn has ended"
                    assert time.monotonic() < deadline, "gunicorn does not listen"
                    time.sleep(0.05)
            yield port
        finally:
            server.terminate()
