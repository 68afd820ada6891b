"""The socket on which gunicorn writes an answer; it sends the answer in one piece.

gunicorn writes the head of an answer and then its body. This needs two system calls,
and the client wakes up twice. So gunicorn gets an `AnswerSocket` in place of the real
socket. It keeps what gunicorn writes until `flush`. A WebSocket handshake takes the
real socket out of it, and after that gunicorn writes nothing more.
tests/api/test_answer_socket.py compares it with a plain socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
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


class AnswerSocket:
    """A socket that keeps what is written, until it has more than MAX_KEPT bytes or
    until `flush`. Any other use of the socket flushes first.

    When the socket is taken for a protocol other than HTTP, `hand_over` is called. It
    returns the bytes of that protocol that the web server has already read.
    """

    __slots__ = ("_hand_over", "_kept_bytes", "_parts", "_sock", "is_taken")

    def __init__(
        self, sock: socket.socket, hand_over: Callable[[], bytes] = bytes
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

    def take(self) -> tuple[socket.socket, bytes]:
        """Take the socket for a protocol other than HTTP. Returns the socket, and the
        bytes that came for that protocol. From now on gunicorn's answers are
        dropped."""
        self.flush()
        self.is_taken = True
        return self._sock, self._hand_over()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a socket has
        self.flush()
        return getattr(self._sock, name)
