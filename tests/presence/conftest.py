"""A shard of its own for every test, on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.presence.shard import Shard
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the shared server; it answers with text."""
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def shard(client: redis.Redis) -> Iterator[Shard]:
    """An empty shard with the default timings."""
    shard = Shard.open(client)
    yield shard
    shard.remove()
