"""Somebody puts something else under a key of one user: no other user notices."""

from __future__ import annotations

import pytest

from config import Settings
from models.events import Delivery, GatewayMessage, Transition
from models.presence.store import ClosedConnection, LiveConnection
from tasks.expiry import sweep
from tests.presence.shard import GATEWAY, OTHER, TTL_MS

pytestmark = pytest.mark.integration

# Sweeps never hold.
SETTINGS = Settings(
    database_url="sqlite://",
    redis_url="redis://",
    broker_url="redis://",
    jwt_secret="s" * 32,
    service_key=None,
    breaker_hold=0.0,
    gateway_ttl=0.0,
)
USERS = ("ann", "bad", "cid")
GOOD = ("ann", "cid")


@pytest.fixture(params=["status", "connections"])
def damage(request, shard):
    """Damages the user `bad`."""

    def spoil():
        name = getattr(shard.keys, f"user_{request.param}")("bad")
        shard.client.delete(name)
        shard.client.set(name, "something else")

    return spoil


def signs():
    return [LiveConnection(user, f"{GATEWAY}:{user}") for user in USERS]


@pytest.fixture
def online(shard):
    """All are online, and the gateway knows its deadline."""
    deadline = shard.gateways.heartbeat(GATEWAY).deadline
    shard.store.connect(GATEWAY, signs())
    return deadline


def test_others_connect(shard, damage):
    damage()
    reply = shard.store.connect(GATEWAY, signs())
    assert reply.failed == {f"{GATEWAY}:bad"}
    assert reply.needs_drain
    assert all(map(shard.is_online, GOOD))
    assert {one.user_id for one in shard.transitions()} >= set(GOOD)


def test_others_and_the_gateway_beat(shard, damage, online):
    damage()
    shard.let_pass(1000, *GOOD)
    before = {user: shard.deadline(user) for user in GOOD}
    reply = shard.gateways.heartbeat(GATEWAY, signs(), online)
    assert not reply.lapsed
    assert {sign.user_id for sign in reply.gone} <= {"bad"}
    assert all(shard.deadline(user) > before[user] for user in GOOD)
    known = shard.client.zscore(shard.keys.gateways, GATEWAY)
    assert reply.deadline == known
    for _ in range(2):  # and of the bad one alone
        only = shard.gateways.heartbeat(GATEWAY, signs()[1:2], reply.deadline)
        assert not only.lapsed
        assert only.deadline == shard.client.zscore(shard.keys.gateways, GATEWAY)


def test_others_leave(shard, damage, online):
    del online
    damage()
    departures = [ClosedConnection(user, f"{GATEWAY}:{user}", 0) for user in USERS]
    shard.store.release(GATEWAY, departures)
    assert shard.store.expire(USERS).needs_drain
    gone = {one.user_id for one in shard.transitions() if one.status == "offline"}
    assert gone >= set(GOOD)
    assert not any(map(shard.is_online, GOOD))


def test_a_sweep_expires_the_others(shard, damage, online):
    del online
    shard.gateways.heartbeat(OTHER)
    shard.let_pass(TTL_MS + 1, *USERS)
    shard.client.zadd(shard.keys.deadlines, dict.fromkeys(USERS, 1))
    damage()
    assert sweep(shard.presence.shards[0], SETTINGS)
    assert not any(map(shard.is_online, GOOD))


def test_a_gateway_that_cannot_be_reaped_holds_up_no_other(shard, online):
    del online
    for gateway in ("web.0:00", "web.9:99"):
        shard.kill_gateway(gateway)
    shard.client.set(shard.keys.gateway_users("web.0:00"), "something else")
    shard.client.sadd(shard.keys.gateway_users("web.9:99"), "nobody")
    shard.let_pass(TTL_MS + 1, *USERS)
    sweep(shard.presence.shards[0], SETTINGS)
    assert shard.client.zscore(shard.keys.gateways, "web.9:99") is None
    assert not any(map(shard.is_online, USERS))


def test_where_the_others_are_is_found(shard, online):
    del online
    name = shard.keys.user_connections("bad")
    shard.client.delete(name)
    shard.client.set(name, "something else")
    assert shard.presence.gateway_streams.holders(USERS) == {GATEWAY: set(GOOD)}


def test_other_gateways_are_told_and_that_one_too(shard):
    streams = shard.presence.gateway_streams
    for gateway in (GATEWAY, OTHER):
        shard.gateways.heartbeat(gateway)
    shard.client.set(shard.keys.gateway_events(GATEWAY), "something else")
    news = Delivery(Transition("ann", "online", 1), "cid")
    assert streams.publish_to_all([news]) == {}
    streams.publish({OTHER: GatewayMessage(snapshots=("cid",))})
    shard.client.set(shard.keys.gateway_events(GATEWAY), "something else")
    assert streams.publish_to_all([news]) == {}
    for gateway, count in ((GATEWAY, 1), (OTHER, 3)):
        assert len(streams.read(gateway, "0-0", 1).messages) == count
