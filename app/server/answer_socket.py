"""The socket on which gunicorn writes an answer; it sends the answer in one piece.

gunicorn writes the head of an answer and then its body: two system calls, and the
client wakes up twice. `AnswerSocket` stands in for the socket that gunicorn writes to.
It keeps what is written until `flush`. A WebSocket handshake takes the real socket
from it, and gunicorn writes nothing more. tests/api/test_answer_socket.py compares it
with a plain socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

MAX_HELD = 64 * 1024
"""The most bytes that are kept for later."""


def send_whole(sock: socket.socket, data: bytes) -> None:
    """As `sock.sendall`, for data that nearly always goes out at once. gevent's would
    first ask the system for the size of the socket's buffer.

    Raises:
        OSError: as a socket does; TimeoutError if the socket has a time-out.
    """
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


class AnswerSocket:
    """A socket that keeps what is written until there is much of it, or until `flush`
    says that the answer is complete. Any other use of the socket flushes first.

    `hand_over` is called when the socket is taken for a protocol other than HTTP. It
    returns the bytes that the web server has read already.
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
        """Write `data`, now or together with what follows.

        Raises:
            OSError: as a socket does; TimeoutError if the socket has a time-out.
        """
        if self.is_taken:
            return
        self._parts.append(data)
        self._held += len(data)
        if self._held > MAX_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what was kept.

        Raises:
            OSError: as a socket does; TimeoutError if the socket has a time-out.
        """
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts, self._held = [], 0
        send_whole(self._sock, data)

    def take(self) -> tuple[socket.socket, bytes]:
        """Take the socket for a protocol other than HTTP. Returns it and the bytes that
        came for that protocol. After this no answer is written, whatever happens."""
        self.flush()
        self.is_taken = True
        return self._sock, self._hand_over()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a socket has
        self.flush()
        return getattr(self._sock, name)
