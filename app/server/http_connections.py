"""The connections of one web process, and which gives way when there are too many.

While all places are taken gunicorn accepts nobody, so a health check would wait. A few
are kept free: when they are taken, connections that have waited for a request for a
while are closed. A flood of idle ones therefore keeps nobody out for long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

import gevent

FREE_SHARE = 10
"""One in ten of the places for HTTP is kept free."""
MAY_BE_IDLE = 1.0
"""Seconds that a connection may be without a request, even when places are few."""
EVERY = 0.1
"""Seconds between two looks while places are few."""


class HttpConnections:
    """All connections of one worker. Those that are no WebSockets are known one by one,
    each since when it has waited for a request, or has been served."""

    def __init__(self, most: int, http: int, patience: float) -> None:
        """At most `most` may be open. Of those, `http` are never WebSockets. A request
        that is served for longer than `patience` may be cut, too."""
        self._few_from = most - max(1, http // FREE_SHARE)
        self._patience = patience
        self._open = 0
        self._waiting: dict[socket.socket, float] = {}
        self._serving: dict[socket.socket, float] = {}
        self._clearing: gevent.Greenlet[..., None] | None = None

    def opened(self, sock: socket.socket) -> None:
        """A client has connected."""
        self._open += 1
        self._waiting[sock] = time.monotonic()
        if self._open > self._few_from and self._clearing is None:
            self._clearing = gevent.spawn(self._clear)

    def served(self, sock: socket.socket) -> None:
        """A request has come whole."""
        self._waiting.pop(sock, None)
        self._serving[sock] = time.monotonic()

    def answered(self, sock: socket.socket) -> None:
        """The request has its answer, and the next one may follow."""
        if self._serving.pop(sock, None) is not None:
            self._waiting[sock] = time.monotonic()

    def upgraded(self, sock: socket.socket) -> None:
        """It is a WebSocket now: its gateway looks after it."""
        self._serving.pop(sock, None)

    def closed(self, sock: socket.socket) -> None:
        """It has ended."""
        self._open -= 1
        self._waiting.pop(sock, None)
        self._serving.pop(sock, None)

    def _clear(self) -> None:
        try:
            while self._open > self._few_from:
                now = time.monotonic()
                _cut(self._waiting, now - MAY_BE_IDLE, spare=_has_unread)
                _cut(self._serving, now - self._patience)
                gevent.sleep(EVERY)
        finally:
            self._clearing = None


def _has_unread(sock: socket.socket) -> bool:
    """Whether bytes have come that we, who are busy, have not read yet."""
    try:
        return bool(_raw(sock).recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _raw(sock: socket.socket) -> socket.socket:
    """The system's socket, which never waits, behind gevent's. To end that one would
    raise in the greenlet that waits for it, and gunicorn would log it."""
    return sock._sock  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def _cut(
    connections: dict[socket.socket, float],
    before: float,
    spare: Callable[[socket.socket], bool] = lambda _: False,
) -> None:
    """End those of `connections` that are older than `before`. The greenlet that reads
    or writes one of them sees the end."""
    for sock in [sock for sock, since in connections.items() if since < before]:
        if spare(sock):
            continue
        del connections[sock]
        with suppress(OSError):
            _raw(sock).shutdown(socket.SHUT_RDWR)
