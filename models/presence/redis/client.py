"""Connections to Redis, their pools, and the backend, all made from the settings.

The pool is redis-py's `BlockingConnectionPool`, with its queue. Three parts are ours:

- The pool hands out a connected connection, and takes it back, without the metrics of
  the library and its decorator for old arguments. These take 20 us, and a whole round
  trip on one machine takes 60 us. All other cases go through the library's own
  methods. There is one queue, so a caller that waits cannot miss a connection that is
  given back.
- `can_read`, which the pool calls before each command to find data that must not be
  there. The library polls the socket. Under gevent a poll costs watchers and rounds of
  the event loop, a third of a whole command. Our `can_read` asks the kernel for the
  number of waiting bytes (FIONREAD). It does not see replies in the parser's buffer,
  but `roundtrip` leaves none there. It does not see either that the server has closed
  the connection: the command then fails and is sent again on a new connection.
- A connection closes when its server says that it is no longer the primary. The library
  does the same behind sentinels only.

`tests/presence/test_pool.py` compares these parts with those of the library.
"""

from __future__ import annotations

import fcntl
import queue
import termios
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - the library's name for it
    ResponseError,
    TimeoutError,  # noqa: A004 - the same
)
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

import redis_url
from config import Settings
from models.presence.redis.backend import Backend, Cluster, SingleServer
from models.presence.redis.errors import is_demotion, reply_text

CONNECT_TIMEOUT = 2.0
"""Seconds that an attempt to connect may take."""
ANSWER_TIMEOUT = 5.0
"""Seconds that a reply may take. Every blocking read of ours is shorter."""
BLOCKING_READ_MS = 2000
"""Milliseconds that a blocking read waits at most."""

_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "socket_timeout": ANSWER_TIMEOUT,
    "socket_keepalive": True,
}

Queue = type[Any]
"""A last-in-first-out queue class, in which the pool keeps its connections."""


class PrimaryConnection(redis.Connection):
    """A connection that closes when its server is no longer the primary.

    The caller sees a lost connection and connects again. Behind a proxy or a DNS name,
    the new connection leads to the new primary. Celery uses this class too.
    """

    on_demotion: Callable[[], None] | None = None
    """Called when the server is no longer the primary."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        # Do not send the library's name to the server: that needs a permission of its
        # own.
        options.setdefault("driver_info", None)
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Like `redis.Connection.read_response`, but close if the server was demoted.

        Raises:
            redis.exceptions.ConnectionError: the server is no longer the primary.
        """
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not is_demotion(error):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            if self.on_demotion is not None:
                self.on_demotion()
            raise ConnectionError(reply_text(error)) from error


class SecurePrimaryConnection(PrimaryConnection, redis.SSLConnection):
    """A `PrimaryConnection` with TLS. TLS holds back bytes that the kernel does not
    count, so this class keeps the library's `can_read`."""


class FastConnection(PrimaryConnection):
    """A `PrimaryConnection` without TLS, with a cheap `can_read`. See the top of this
    module."""

    def can_read(self, timeout: float = 0) -> bool:
        """Whether data has come that no command asked for."""
        sock = self._sock  # the library has no public name for it
        if sock is not None and timeout == 0:
            waiting = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
            if not any(waiting):
                return False
        return bool(super().can_read(timeout))


class PrimaryPool(redis.BlockingConnectionPool):
    """A blocking pool that replaces all its connections when one of them finds that its
    server is no longer the primary. See the top of this module."""

    def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Like `BlockingConnectionPool.get_connection`, but faster."""
        self._checkpid()
        try:
            connection = self.pool.get(timeout=self.timeout)
        except queue.Empty:
            message = "No connection available."
            raise ConnectionError(message) from None
        is_ready = False
        try:
            if connection is not None and connection.is_connected:
                is_ready = not connection.can_read()
        except (ConnectionError, TimeoutError, OSError):
            pass  # the library makes a new one
        finally:
            if not is_ready:
                self.pool.put_nowait(connection)
        if is_ready:
            return connection
        return super().get_connection(*args, **options)  # type: ignore[no-untyped-call]

    def release(self, connection: Any) -> None:  # noqa: ANN401
        """Like `BlockingConnectionPool.release`, but faster."""
        self._checkpid()
        if connection.should_reconnect() or not self.owns_connection(connection):
            super().release(connection)  # type: ignore[no-untyped-call]
        else:
            self.pool.put_nowait(connection)

    def make_connection(self) -> Any:  # noqa: ANN401
        """Like `BlockingConnectionPool.make_connection`, but watch for a demotion."""
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.on_demotion = self.replace_all
        return connection

    def replace_all(self) -> None:
        """Close the free connections now, and the others when they are given back. A
        blocking read ends first, within `BLOCKING_READ_MS`."""
        for connection in self._connections:
            connection.mark_for_reconnect()
        self.disconnect(inuse_connections=False)


class _BlockingSentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the server that the sentinels call primary, in a blocking pool."""


def open_backend(
    settings: Settings, prefixes: tuple[str, ...], queue_class: Queue
) -> Backend:
    """The servers of the shards with these key prefixes. Connects on first use."""
    if redis_url.scheme_of(settings.redis_url) not in redis_url.CLUSTER:
        return SingleServer(connect(settings, queue_class))
    url = redis_url.RedisUrl.parse(settings.redis_url)
    options = {
        **_pool_options(settings, queue_class),
        "connection_pool_class": PrimaryPool,
        "username": url.username,
        "password": url.password,
        **url.tls_arguments(verify=settings.redis_tls_verify),
    }
    if not url.tls:  # with TLS the library insists on its own class
        options["connection_class"] = FastConnection
    return Cluster(tuple(url.hosts), prefixes, options, tls=url.tls)


def connect(settings: Settings, queue_class: Queue = queue.LifoQueue) -> redis.Redis:
    """A client whose pool holds at most `settings.redis_max_connections` and makes
    callers wait for a free one. Connects on first use.

    Replies are text. A command that finds its connection lost is sent once more.
    """
    options = {**_pool_options(settings, queue_class), "retry": Retry(NoBackoff(), 1)}
    url = redis_url.RedisUrl.parse(settings.redis_url)
    options |= {"username": url.username, "password": url.password, "db": url.db}
    tls = url.tls_arguments(verify=settings.redis_tls_verify)
    pool: redis.ConnectionPool
    if redis_url.scheme_of(settings.redis_url) in redis_url.SENTINEL:
        if tls:
            tls["ssl"] = True
        pool = _BlockingSentinelPool(  # type: ignore[no-untyped-call]
            url.group, _sentinels(url, tls), **options, **tls
        )
    else:
        ((host, port),) = url.hosts
        pool = PrimaryPool(  # type: ignore[no-untyped-call]
            host=host,
            port=port,
            connection_class=SecurePrimaryConnection if url.tls else FastConnection,
            **options,
            **tls,
        )
    return redis.Redis(connection_pool=pool)


def _sentinels(url: redis_url.RedisUrl, tls: dict[str, Any]) -> Sentinel:
    return Sentinel(  # type: ignore[no-untyped-call]
        url.hosts,
        sentinel_kwargs={
            **_TIMEOUTS,
            **tls,
            "username": url.sentinel_username,
            "password": url.sentinel_password,
            # No second attempt: the next sentinel knows the primary too.
            "retry": Retry(NoBackoff(), 0),
        },
    )


def _pool_options(settings: Settings, queue_class: Queue) -> dict[str, Any]:
    return {
        **_TIMEOUTS,
        "queue_class": queue_class,
        "max_connections": settings.redis_max_connections,
        "timeout": ANSWER_TIMEOUT,
        "health_check_interval": 30,
        "decode_responses": True,
        "driver_info": None,  # see PrimaryConnection
    }
