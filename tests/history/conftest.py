"""A shard whose transitions go to SQL: a real Redis, and both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from tests.databases import database_url, engine  # noqa: F401 - fixtures
from tests.history.world import World
from tests.presence.shard import Shard


@pytest.fixture
def world(valkey_url: str, engine: Engine) -> Iterator[World]:  # noqa: F811
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    shard = Shard.open(client, gateway_ttl=0.1, sweep_interval=0.05)
    world = World(shard, engine)
    world.put_users("ann", "bob", "cid")
    world.drain()
    world.settle()
    yield world
    shard.remove()
    client.close()
