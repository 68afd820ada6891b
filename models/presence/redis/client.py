"""Makes the Redis clients of one process, with bounded connections and patience."""

from __future__ import annotations

import queue
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

import redis_url
from config import Settings
from models.presence.redis.backend import OneServer, Servers
from models.presence.redis.cluster import Cluster, ClusterServers
from models.presence.redis.pool import Connection, KeepingPool, SecureConnection

CONNECT_TIMEOUT = 2.0
"""Seconds that a connection attempt may take."""
ANSWER_TIMEOUT = 5.0
"""Seconds that an answer may take; longer than any blocking read that we make."""
BLOCKING_READ_MS = 2000
"""Milliseconds that a blocking read waits, at most."""

_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "socket_timeout": ANSWER_TIMEOUT,
    "socket_keepalive": True,
}


Queue = type[Any]
"""A class of queues, last in first out, in which free connections are kept."""


def open_servers(
    settings: Settings, prefixes: tuple[str, ...], queue_class: Queue
) -> Servers:
    """The servers of the shards with these key prefixes. Connects on first use."""
    if redis_url.scheme_of(settings.redis_url) in redis_url.CLUSTER:
        return ClusterServers(_cluster(settings, queue_class), prefixes)
    return OneServer(connect(settings, queue_class))


def connect(settings: Settings, queue_class: Queue = queue.LifoQueue) -> redis.Redis:
    """A client whose pool waits for a free connection instead of raising, and holds at
    most `settings.redis_max_connections`. Connects on first use.

    Replies are text. A command is tried once more on a stale connection, then fails
    with the library's error; the store translates it.
    """
    kwargs = {**_pool(settings, queue_class), "retry": Retry(NoBackoff(), 1)}
    if redis_url.scheme_of(settings.redis_url) in redis_url.SENTINEL:
        return redis.Redis(connection_pool=_behind_sentinels(settings, kwargs))
    url = redis_url.RedisUrl.parse(settings.redis_url)
    ((host, port),) = url.hosts
    pool = KeepingPool(
        host=host,
        port=port,
        username=url.username,
        password=url.password,
        db=url.db,
        connection_class=SecureConnection if url.tls else Connection,
        **kwargs,
        **url.tls_arguments(verify=settings.redis_tls_verify),
    )
    return redis.Redis(connection_pool=pool)


class _BlockingSentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to whom the sentinels call primary; waits as a blocking pool does."""


def _behind_sentinels(
    settings: Settings, kwargs: dict[str, Any]
) -> redis.ConnectionPool:
    url = redis_url.RedisUrl.parse(settings.redis_url)
    tls = url.tls_arguments(verify=settings.redis_tls_verify)
    if tls:
        tls["ssl"] = True
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        url.hosts,
        sentinel_kwargs={
            **_TIMEOUTS,
            **tls,
            "username": url.sentinel_username,
            "password": url.sentinel_password,
            # One that is away is passed over at once: the next one knows as well.
            "retry": Retry(NoBackoff(), 0),
        },
    )
    pool: redis.ConnectionPool = _BlockingSentinelPool(  # type: ignore[no-untyped-call]
        url.group,
        sentinel,
        username=url.username,
        password=url.password,
        db=url.db,
        **kwargs,
        **tls,
    )
    return pool


def _cluster(settings: Settings, queue_class: Queue) -> Cluster:
    url = redis_url.RedisUrl.parse(settings.redis_url)
    kwargs = {
        **_pool(settings, queue_class),
        "username": url.username,
        "password": url.password,
        **url.tls_arguments(verify=settings.redis_tls_verify),
    }
    return Cluster(url.hosts, kwargs, tls=url.tls)


def _pool(settings: Settings, queue_class: Queue) -> dict[str, Any]:
    return {
        **_TIMEOUTS,
        "queue_class": queue_class,
        "max_connections": settings.redis_max_connections,
        "timeout": ANSWER_TIMEOUT,
        "health_check_interval": 30,
        "decode_responses": True,
        # It does not say of which library it is: that takes a right of its own.
        "driver_info": None,
    }
