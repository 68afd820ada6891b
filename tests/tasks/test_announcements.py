"""Changes of the graph that are told late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from models.events import EVERYBODY
from models.presence.rules import has_settled
from models.sql import pending_announcements
from models.sql.db import session_factory
from models.sql.pending_announcements import MAX_NAMED
from tasks.announcements import announce
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, OTHER, Shard

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with friends_in(tmp_path, ("ann", "bob")) as engine:
        yield engine


@pytest.fixture
def shard(valkey_url: str) -> Shard:
    """Ann is at one gateway; at the other is bob. No sweep has run yet."""
    shard = Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))
    for user, gateway in (("ann", GATEWAY), ("bob", OTHER)):
        shard.heartbeat(user, gateway=gateway)
        shard.connect(user, gateway=gateway)
    return shard


def sweeps_ran(shard: Shard) -> None:
    """As if sweeps had run without a gap for an hour."""
    now = int(time.time() * 1000)
    since = {"last": now, "no_gap_since": now - 3_600_000}
    shard.client.hset(shard.keys.sweeps, mapping=since)


def note(engine: Engine, *args) -> None:
    with session_factory(engine)() as session:
        pending_announcements.record(session, *args)
        session.commit()


def told(shard: Shard, gateway: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Whose snapshots and whose sockets that gateway was told of."""
    messages = shard.presence.gateway_streams.read(gateway, "0-0", 10).messages
    return [(message.snapshots, message.disconnects) for _, message in messages]


def left(engine: Engine) -> int:
    with engine.connect() as reader:
        return len(pending_announcements.pending(reader))


def test_those_concerned_get_fresh_snapshots_and_the_rows_are_gone(shard, engine):
    note(engine, {"ann"})
    note(engine, {"ann", "bob", "gone"})
    announce(shard.presence, engine, older_than=0)
    assert told(shard, GATEWAY) == [(("ann",), ())]
    assert told(shard, OTHER) == [(("bob",), ())]
    assert left(engine) == 0
    announce(shard.presence, engine, older_than=0)
    assert len(told(shard, GATEWAY)) == 1


def test_what_is_just_being_told_is_left_alone(shard, engine):
    note(engine, {"ann"})
    announce(shard.presence, engine)
    assert told(shard, GATEWAY) == []
    assert left(engine) == 1


def test_sockets_are_closed_at_once_and_again_when_all_gateways_are_back(shard, engine):
    note(engine, (), ["bob"])
    announce(shard.presence, engine, older_than=0)
    announce(shard.presence, engine, older_than=0)
    assert told(shard, OTHER) == [((), ("bob",))], "once, whatever the sweeps"
    assert left(engine) == 1
    late = "late:cc"  # could not show itself before
    shard.heartbeat("bob", gateway=late)
    sweeps_ran(shard)
    announce(shard.presence, engine, older_than=0)
    assert told(shard, late) == [((), ("bob",))]
    assert left(engine) == 0


def test_a_change_that_concerns_very_many_concerns_everybody(shard, engine):
    note(engine, {f"user-{number}" for number in range(MAX_NAMED + 1)})
    announce(shard.presence, engine, older_than=0)
    for gateway in (GATEWAY, OTHER):
        assert told(shard, gateway) == [((EVERYBODY,), ())]
    assert left(engine) == 0


@pytest.mark.parametrize(
    ("last", "since", "epoch", "settled"),
    [
        (None, None, 0, False),
        (9_000, 1_000, 0, True),
        (9_000, 5_001, 0, False),
        (9_000, 1_000, 5_001, False),
        (4_000, 1_000, 0, False),
    ],
    ids=["no sweep", "watched", "a gap", "a loss", "sweeps ended"],
)
def test_when_all_gateways_have_had_time_to_show_themselves(
    last, since, epoch, settled
):
    assert has_settled(10_000, last, since, epoch, 5_000) is settled
