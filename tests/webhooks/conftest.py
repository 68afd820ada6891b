"""A sender and its receiver, with a real Redis and a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from config import Settings
from tests.databases import friends_in
from tests.presence.shard import Shard
from tests.webhooks.receiver import SECRETS, Receiver
from tests.webhooks.world import World


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def world(valkey_url: str, tmp_path: Path, receiver: Receiver) -> Iterator[World]:
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    shard = Shard.open(
        client,
        webhook_urls=(receiver.url,),
        webhook_secrets=SECRETS,
        webhook_allow_private=True,
    )
    settings: Settings = shard.settings
    with friends_in(tmp_path, ("ann", "bob"), ("bob", "cid")) as engine:
        world = World(shard, engine, settings, receiver)
        world.finish_walk()
        yield world
    shard.remove()
    client.close()
