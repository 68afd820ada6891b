"""The socket on which gunicorn writes an answer; it sends the answer in one piece.

gunicorn writes the head of an answer and then its body. This needs two system calls,
and the client wakes up twice. So gunicorn gets an `AnswerSocket` in place of the real
socket. It keeps what gunicorn writes until `flush`. A WebSocket handshake takes the
real socket out of it, and after that gunicorn writes nothing more.
tests/api/test_answer_socket.py compares it with a plain socket.

gevent's socket objects wait in a greenlet, and a greenlet costs 10 KB or more. So a
WebSocket gets a plain socket that never waits, a `TakenSocket`.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_KEPT = 64 * 1024
"""If more bytes than this are kept, they are written at once."""


def send_whole(sock: socket.socket, data: bytes) -> None:
    """Like `sock.sendall`, but faster for data that the system nearly always takes in
    one call. gevent's `sendall` first asks for the size of the socket's buffer.

    Raises:
        OSError: like a socket's method. TimeoutError if the socket has a time-out.
    """
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class TakenSocket:
    """A socket that no longer speaks HTTP, and that no greenlet reads or writes."""

    sock: _socket.socket
    """It never waits: a call that would wait raises BlockingIOError."""
    received: bytes = b""
    """Bytes that came directly after the last HTTP request."""
    on_closed: Callable[[], None] = _nothing
    """To be called once, when the socket was closed."""


def detached(sock: socket.socket) -> _socket.socket:
    """The socket of gevent's `sock`, which can no longer be used."""
    family, kind, protocol = sock.family, sock.type, sock.proto
    taken = _socket.socket(family, kind, protocol, fileno=sock.detach())
    taken.setblocking(False)  # noqa: FBT003 - the name of its argument is private
    return taken


class AnswerSocket:
    """A socket that keeps what is written, until it has more than MAX_KEPT bytes or
    until `flush`. Any other use of the socket flushes first.

    When the socket is taken for a protocol other than HTTP, `hand_over` is called to
    give it away.
    """

    __slots__ = ("_hand_over", "_kept_bytes", "_parts", "_sock", "is_taken")

    def __init__(
        self,
        sock: socket.socket,
        hand_over: Callable[[], TakenSocket] | None = None,
    ) -> None:
        self.is_taken = False
        self._sock = sock
        self._hand_over = hand_over
        self._parts: list[bytes] = []
        self._kept_bytes = 0

    def sendall(self, data: bytes) -> None:
        """Write `data`, now or together with later data.

        Raises:
            OSError: like a socket's method. TimeoutError if the socket has a time-out.
        """
        if self.is_taken:
            return
        self._parts.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > MAX_KEPT:
            self.flush()

    def flush(self) -> None:
        """Write what was kept.

        Raises:
            OSError: like a socket's method. TimeoutError if the socket has a time-out.
        """
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts, self._kept_bytes = [], 0
        send_whole(self._sock, data)

    def take(self, last: bytes) -> TakenSocket:
        """Write `last`, the end of HTTP on this socket, and give the socket away. From
        now on gunicorn's answers are dropped.

        Raises:
            OSError: like a socket's method. The socket was not given away then.
        """
        assert self._hand_over is not None  # noqa: S101 - our worker gives one
        self.sendall(last)
        self.is_taken = True
        self.flush()
        return self._hand_over()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a socket has
        self.flush()
        return getattr(self._sock, name)
