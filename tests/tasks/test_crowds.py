"""Changes for very large audiences: a task of their own tells them, none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

import models.events
import models.presence.crowds
from models.events import VERSION
from models.identifiers import ids_in
from models.presence import Presence
from models.presence.crowds import FIRST, Crowds
from models.sql.db import make_engine
from tasks import broadcast, crowds, resources
from tests.databases import friends_in, statements
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


def add_newer(shard: Shard, *users: str) -> list[str]:
    """Changes as a worker of the next version leaves them to this task."""
    fields = {"status": "away", "timestamp": "9", "v": str(VERSION + 1)}
    return [
        shard.client.xadd(shard.keys.crowds, {"user_id": user, **fields})
        for user in users
    ]


def ids_that_wait(shard: Shard) -> list[str]:
    return [entry_id for entry_id, _ in shard.client.xrange(shard.keys.crowds)]


def test_what_a_newer_version_wrote_is_left_and_what_is_behind_it_is_told(
    presence, shard, engine, caplog
):
    newer = [f"newer-{number}" for number in range(crowds.BATCH + 5)]
    before = add_newer(shard, *newer)
    broadcast.drain(presence)
    after = add_newer(shard, "dan")
    with statements(engine) as sent:
        crowds.tell_waiting(presence)
    assert len(told(presence)) == 4
    assert ids_that_wait(shard) == before + after
    assert not shard.client.exists(shard.keys.crowds_lease), "the newer one may begin"
    (line,) = (one for one in caplog.messages if "newer worker" in one)
    assert f"({len(before + after)}, the first: version {VERSION + 1} is newer" in line
    # The next task looks again, and has nothing to do.
    asked = len(sent)
    with statements(engine) as sent:
        crowds.tell_waiting(presence)
    assert asked > 0
    assert sent == []
    assert len(told(presence)) == 4
    assert ids_that_wait(shard) == before + after


def test_what_comes_while_a_task_passes_over_a_newer_change_is_told(
    presence, shard, monkeypatch
):
    """It comes after the task has found nothing more, and before it gives up."""
    add_newer(shard, "newer")
    leave = Crowds.leave
    drained = []

    def drain_first(self: Crowds, after: str = FIRST) -> bool:
        if not drained:
            drained.append(after)
            broadcast.drain(presence)
        return leave(self, after)

    monkeypatch.setattr(Crowds, "leave", drain_first)
    crowds.tell_waiting(presence)
    assert len(told(presence)) == 4
    assert waiting(presence) == 1


def test_a_newer_worker_tells_what_was_left(presence, shard, monkeypatch):
    shard.client.delete(shard.keys.transitions)
    fields = {"user_id": "ann", "status": "online", "timestamp": "9"}
    shard.client.xadd(shard.keys.crowds, {**fields, "v": str(VERSION + 1)})
    crowds.tell_waiting(presence)
    assert told(presence) == []
    monkeypatch.setattr(models.events, "VERSION", VERSION + 1)
    crowds.tell_waiting(presence)
    assert told(presence) == [("bob", "ann")]
    assert waiting(presence) == 0


def test_what_was_left_is_bounded(presence, shard, monkeypatch):
    monkeypatch.setattr(models.presence.crowds, "MAX_ENTRIES", 3)
    add_newer(shard, "one", "two", "three")
    broadcast.drain(presence)
    assert waiting(presence) == 3
    crowds.tell_waiting(presence)
    assert len(told(presence)) == 4
    assert waiting(presence) == 1


def test_a_redis_that_is_full_does_not_stop_the_others(presence, requested, shard):
    shard.client.config_set("maxmemory", 1)
    try:
        broadcast.drain(presence)
    finally:
        shard.client.config_set("maxmemory", 0)
    assert len(told(presence)) == 4
    assert waiting(presence) == 0
    assert requested == []
