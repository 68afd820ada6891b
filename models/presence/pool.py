"""Connections to one server, and the pool that hands them out at little cost.

A round trip to a Valkey takes some ten microseconds, and a change makes five of them on
its way to a friend: so what the library does around each of them counts.
"""

from __future__ import annotations

import fcntl
import termios
from collections import deque
from typing import Any

import redis


class Connection(redis.Connection):
    """A connection that the pool looks at, before each command, at little cost.

    The library polls the socket for data that must not be there. Under gevent a poll
    means watchers and turns of the loop: a third of what a command costs in all.
    """

    def can_read(self, timeout: float = 0) -> bool:
        """Whether something has come that nobody asked for. The end of a connection is
        not seen here; the command fails then, and is tried again on a new one."""
        # The library's own name for its socket; it has no public one.
        sock = self._sock
        if sock is not None and timeout == 0:
            waiting = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
            if not any(waiting):
                return False
        return bool(super().can_read(timeout))


class KeepingPool(redis.BlockingConnectionPool):
    """Keeps the connection that was given back last at hand. Who comes next gets it
    without the queue, its locks and its figures: a third of what a short command costs.
    Nobody who waits is overtaken: while somebody does, all goes through the queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        # Appended to and popped in one step each, whatever thread or greenlet it is.
        self._kept: deque[Any] = deque()
        self._waiting: list[None] = []
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As the library's. One that has died meanwhile is noticed at the command,
        which is then tried again on a new one."""
        self._checkpid()
        try:
            kept = self._kept.pop()
        except IndexError:
            pass
        else:
            if kept.is_connected:
                return kept
            super().release(kept)  # type: ignore[no-untyped-call]
        self._waiting.append(None)
        try:
            return super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self._waiting.pop()

    def release(self, connection: Any) -> None:  # noqa: ANN401
        """As the library's."""
        if (
            self._waiting
            or self._kept
            or not connection.is_connected
            or connection.should_reconnect()
            or not self.owns_connection(connection)
        ):
            super().release(connection)  # type: ignore[no-untyped-call]
        else:
            self._kept.append(connection)

    def reset(self) -> None:
        """As the library's: all begins anew in a process that was forked."""
        self._kept.clear()
        super().reset()  # type: ignore[no-untyped-call]
