"""Makes the Redis client of one process, with bounded connections and patience."""

from __future__ import annotations

import ssl
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import Settings
from models.presence.servers import OneServer, Servers

CONNECT_TIMEOUT = 2.0
"""Seconds that a connection attempt may take."""
ANSWER_TIMEOUT = 5.0
"""Seconds that an answer may take; longer than any blocking read that we make."""
BLOCKING_READ_MS = 2000
"""Milliseconds that a blocking read waits, at most."""


def open_servers(settings: Settings) -> Servers:
    """The servers of all shards. Connects on first use."""
    return OneServer(connect(settings))


def connect(settings: Settings) -> redis.Redis:
    """A client whose pool waits for a free connection instead of raising, and holds at
    most `settings.redis_max_connections`. Connects on first use.

    Replies are text. A command is tried once more on a stale connection, then fails
    with the library's error; the store translates it.
    """
    tls: dict[str, Any] = {}
    if settings.redis_url.startswith("rediss://") and not settings.redis_tls_verify:
        tls = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    pool = redis.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=settings.redis_max_connections,
        timeout=ANSWER_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=ANSWER_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
        **tls,
    )
    return redis.Redis(connection_pool=pool)
