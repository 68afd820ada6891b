"""Changes for very large audiences: a task of their own tells them, none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from models.identifiers import ids_in
from models.presence import Presence
from models.sql.db import make_engine
from tasks import broadcast, crowds, resources
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, Shard
from tests.servers import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann and bob are friends, and cid and dan."""
    with friends_in(tmp_path, ("ann", "bob"), ("cid", "dan")) as engine:
        yield engine


@pytest.fixture
def shard(valkey_url: str) -> Shard:
    """A shard with a gateway. All four users have come online, and nobody was told."""
    shard = Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))
    shard.gateways.heartbeat(GATEWAY)
    for user in ("ann", "bob", "cid", "dan"):
        shard.connect(user)
    return shard


@pytest.fixture
def requested(monkeypatch) -> list[int]:
    """The shards for which the task was requested."""
    found: list[int] = []
    monkeypatch.setattr(broadcast, "request_crowds", found.append)
    return found


@pytest.fixture
def presence(shard: Shard, engine, requested, monkeypatch) -> Presence:  # noqa: ARG001
    """All that a worker needs. It asks for tasks, but none runs by itself. It knows
    that ann and cid have large audiences."""
    monkeypatch.setattr(resources, "database", lambda: engine)
    monkeypatch.setattr(resources, "presence", lambda: shard.presence)
    monkeypatch.setattr(broadcast.large_audiences, "_users", {"ann", "cid"})
    return shard.presence


def told(presence: Presence) -> list[tuple[str, str]]:
    """Who was told of whom, as the gateway reads it."""
    return [
        (recipient, delivery.transition.user_id)
        for _, message in presence.gateway_streams.read(GATEWAY, "0-0", 1).messages
        for delivery in message.transitions
        for recipient in ids_in(delivery.recipients)
    ]


def waiting(presence: Presence) -> int:
    return presence.shards[0].crowds.length()


def test_a_task_tells_what_the_drainer_leaves_to_it(presence, requested):
    broadcast.drain(presence)
    assert sorted(told(presence)) == [("ann", "bob"), ("cid", "dan")]
    assert presence.shards[0].outbox.length() == 0
    assert waiting(presence) == 2
    assert requested == [0]
    crowds.tell_waiting(presence)
    everybody = [("ann", "bob"), ("bob", "ann"), ("cid", "dan"), ("dan", "cid")]
    assert sorted(told(presence)) == everybody
    assert waiting(presence) == 0
    crowds.tell_waiting(presence)
    assert len(told(presence)) == 4


def test_what_could_not_be_told_stays_and_the_next_task_need_not_wait(
    presence, engine, monkeypatch
):
    broadcast.drain(presence)
    away = make_engine(f"postgresql+psycopg://u:p@127.0.0.1:{free_port()}/none")
    monkeypatch.setattr(resources, "database", lambda: away)
    with pytest.raises(OperationalError):
        crowds.tell_waiting(presence)
    assert waiting(presence) == 2
    monkeypatch.setattr(resources, "database", lambda: engine)
    crowds.tell_waiting(presence)
    assert waiting(presence) == 0
    assert len(told(presence)) == 4


def test_a_task_that_dies_is_followed_by_another(presence, monkeypatch):
    broadcast.drain(presence)
    with monkeypatch.context() as patch:
        patch.setattr(broadcast, "tell", end)
        with pytest.raises(KeyboardInterrupt):
            crowds.tell_waiting(presence)
    crowds.tell_waiting(presence)
    assert waiting(presence) == 0
    assert len(told(presence)) == 4


def end(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_task_at_a_time(presence):
    broadcast.drain(presence)
    crowd = presence.shards[0].crowds
    assert len(crowd.take("another") or []) == 2
    crowds.tell_waiting(presence)
    assert waiting(presence) == 2
    assert crowd.leave(), "it must look again, for the task has ended in vain"
    crowds.tell_waiting(presence)
    assert waiting(presence) == 0


def test_a_worker_learns_which_audiences_are_large(
    presence, requested, shard, monkeypatch
):
    monkeypatch.setattr(broadcast.large_audiences, "_users", set())
    monkeypatch.setattr(broadcast, "LARGE", 0)
    broadcast.drain(presence)
    assert waiting(presence) == 4
    assert told(presence) == [], "the first change too is left to the task"
    assert requested == [0]
    assert all(user in broadcast.large_audiences for user in ("ann", "bob", "cid"))
    crowds.tell_waiting(presence)
    assert len(told(presence)) == 4
    assert waiting(presence) == 0
    monkeypatch.setattr(broadcast, "LARGE", 1)
    for user in ("ann", "bob"):
        shard.release(user)
    assert len(shard.expire("ann", "bob")) == 2
    broadcast.drain(presence)
    assert waiting(presence) == 2
    crowds.tell_waiting(presence)
    assert "ann" not in broadcast.large_audiences
    assert "cid" in broadcast.large_audiences


def test_a_redis_that_is_full_does_not_stop_the_others(presence, requested, shard):
    shard.client.config_set("maxmemory", 1)
    try:
        broadcast.drain(presence)
    finally:
        shard.client.config_set("maxmemory", 0)
    assert len(told(presence)) == 4
    assert waiting(presence) == 0
    assert requested == []
