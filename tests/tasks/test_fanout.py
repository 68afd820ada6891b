"""To which gateways a change is told, and who is named to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from models.events import Transition
from models.fanout import fan_out
from models.identifiers import ids_in
from models.presence import Presence, gateway_streams
from models.presence.gateway_streams import FEW_GATEWAYS
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, OTHER, Shard

pytestmark = pytest.mark.integration

ANN = Transition("ann", "online", 1)
MORE = [f"web.{number}:cc" for number in range(3, FEW_GATEWAYS + 3)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann is friends with bob, who is here, and cid, who is not."""
    with friends_in(tmp_path, ("ann", "bob"), ("ann", "cid")) as engine:
        yield engine


@pytest.fixture
def shard(valkey_url: str) -> Shard:
    """Bob is at one gateway; at the other is dan, who knows nobody."""
    shard = Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))
    for user, gateway in (("bob", GATEWAY), ("dan", OTHER)):
        shard.heartbeat(user, gateway=gateway)
        shard.connect(user, gateway=gateway)
    return shard


def named(presence: Presence, gateway: str) -> list[tuple[str, set[str]]]:
    """The subjects `gateway` was told about, each with its recipients."""
    return [
        (delivery.transition.user_id, set(ids_in(delivery.recipients)))
        for _, message in presence.gateway_streams.read(gateway, "0-0", 10).messages
        for delivery in message.transitions
    ]


def tell(shard: Shard, engine: Engine) -> None:
    with engine.connect() as reader:
        assert fan_out(shard.presence, reader, [ANN]) == {}


def test_few_gateways_are_all_told_with_the_whole_audience(shard, engine):
    tell(shard, engine)  # the first time, they are not known yet
    tell(shard, engine)
    for gateway in (GATEWAY, OTHER):
        assert named(shard.presence, gateway) == [("ann", {"bob", "cid"})] * 2


def test_a_gateway_that_came_since_is_told(shard, engine):
    tell(shard, engine)
    shard.heartbeat("cid", gateway=MORE[0])
    tell(shard, engine)
    assert named(shard.presence, MORE[0]) == [("ann", {"bob", "cid"})]
    assert len(named(shard.presence, GATEWAY)) == 2


def test_of_many_gateways_those_are_told_that_hold_somebody(shard, engine):
    for gateway in MORE:
        shard.heartbeat("eve", gateway=gateway)
    tell(shard, engine)  # not known yet: all of them
    tell(shard, engine)
    for gateway in (OTHER, *MORE):
        assert named(shard.presence, gateway) == [("ann", {"bob", "cid"})]
    assert named(shard.presence, GATEWAY) == [
        ("ann", {"bob", "cid"}),
        ("ann", {"bob"}),
    ]


def test_of_a_large_audience_only_who_is_held_is_named(shard, engine, monkeypatch):
    monkeypatch.setattr(gateway_streams, "MAX_IDS_TO_ALL", 1)
    tell(shard, engine)
    assert named(shard.presence, GATEWAY) == [("ann", {"bob"})]
    assert named(shard.presence, OTHER) == []


def test_nobody_is_told_of_who_knows_nobody(shard, engine):
    with engine.connect() as reader:
        assert fan_out(shard.presence, reader, [Transition("dan", "online", 1)]) == {}
    assert named(shard.presence, GATEWAY) == named(shard.presence, OTHER) == []
