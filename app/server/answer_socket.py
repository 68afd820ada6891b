"""A web server's way to a client, on which an answer goes out in one piece.

gunicorn writes the head of an answer, and then its body: two calls of the system, and
the client wakes up twice.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

MOST_HELD = 64 * 1024
"""Bytes that wait for what follows, at most."""


def send_whole(sock: socket.socket, data: bytes) -> None:
    """As `sock.sendall`, for what nearly always goes out at once: gevent's would first
    ask the system for the size of the socket's buffer.

    Raises:
        OSError: as of a socket; TimeoutError where it has a bound.
    """
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


class AnswerSocket:
    """A socket that keeps what is written to it until there is much, or the answer is
    whole: `flush` says so. Whatever else is done with it comes after what was written.

    `hand_over` is called when the socket is taken for another protocol than HTTP. It
    returns what the web server has read of that already.
    """

    __slots__ = ("_hand_over", "_held", "_parts", "_sock", "is_taken")

    def __init__(
        self, sock: socket.socket, hand_over: Callable[[], bytes] = bytes
    ) -> None:
        self.is_taken = False
        self._sock = sock
        self._hand_over = hand_over
        self._parts: list[bytes] = []
        self._held = 0

    def sendall(self, data: bytes) -> None:
        """Write `data`, now or with what follows.

        Raises:
            OSError: as of a socket; TimeoutError where it has a bound.
        """
        if self.is_taken:
            return
        self._parts.append(data)
        self._held += len(data)
        if self._held > MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is kept.

        Raises:
            OSError: as of a socket; TimeoutError where it has a bound.
        """
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts, self._held = [], 0
        send_whole(self._sock, data)

    def take(self) -> tuple[socket.socket, bytes]:
        """The socket, for another protocol than HTTP, and what has come of that. From
        now on no answer is written, whatever goes wrong."""
        self.flush()
        self.is_taken = True
        return self._sock, self._hand_over()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a socket has
        self.flush()
        return getattr(self._sock, name)
