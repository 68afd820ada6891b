"""Connections to one server, and the pool that hands them out at little cost.

A round trip to a Valkey takes some ten microseconds, and a change makes five of them on
its way to a friend: so what the library does around each of them counts.
"""

from __future__ import annotations

import fcntl
import termios
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - its name

from models.presence.errors import reply_of, says_demoted


class PrimaryOnly(redis.Connection):
    """A connection that closes where its server turns out to be no primary any more.
    For its caller it is lost: he tries again on a new one, and behind one address that
    is to the new primary. Behind sentinels the library does the same.
    """

    on_demotion: Callable[[], None] | None = None
    """Is called then: the pool's other connections lead to that server too."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        # Celery's too does not say of which library it is: see `client`.
        options.setdefault("driver_info", None)
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """As the library's.

        Raises:
            redis.exceptions.ConnectionError: the server is not the primary any more.
        """
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not says_demoted(error):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            if self.on_demotion is not None:
                self.on_demotion()
            raise ConnectionError(reply_of(error)) from error


class SecureConnection(PrimaryOnly, redis.SSLConnection):
    """The same, encrypted."""


class Connection(PrimaryOnly):
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
            if kept.is_connected and not kept.should_reconnect():
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

    def make_connection(self) -> Any:  # noqa: ANN401
        """As the library's."""
        connection = super().make_connection()  # type: ignore[no-untyped-call]
        connection.on_demotion = self.renew
        return connection

    def renew(self) -> None:
        """Have all connections made anew: those that are free now, the others when
        they are given back. A blocking read ends first, which takes two seconds."""
        for connection in self._connections:
            connection.mark_for_reconnect()
        free = [connection for connection in self.pool.queue if connection]
        for connection in (*free, *self._kept):
            connection.disconnect()

    def reset(self) -> None:
        """As the library's: all begins anew in a process that was forked."""
        self._kept.clear()
        super().reset()  # type: ignore[no-untyped-call]
