"""The numbers of the state, against a state that the test makes."""

from __future__ import annotations

import pytest

from config import Settings
from models.presence import Overview, Presence
from models.presence.redis.backend import SingleServer
from models.presence.store import LiveConnection
from tasks.expiry import sweep
from tests.presence.shard import GATEWAY, OTHER, Shard

pytestmark = pytest.mark.integration


def settings(hold: float) -> Settings:
    return Settings(
        database_url="sqlite://",
        redis_url="redis://",
        broker_url="redis://",
        jwt_secret="s" * 32,
        service_key=None,
        breaker_hold=hold,
    )


def overview(shard: Shard) -> Overview:
    return shard.presence.overview()


def test_an_empty_redis_has_an_overview(shard):
    expected = Overview(
        online=0,
        gateways=0,
        overdue_gateways=0,
        outbox=0,
        unstored=0,
        sweeps_held=0,
        sweep_holds=0,
        last_sweep_age=None,
        epoch=0,
        shards_away=0,
    )
    assert overview(shard) == expected
    assert shard.all_keys() == set()


def test_the_overview_counts_who_is_online_what_waits_and_gateways(shard):
    for user in ("ann", "bob"):
        shard.connect(user)
        shard.heartbeat(user)
    shard.heartbeat("cy", gateway=OTHER)
    shard.kill_gateway(OTHER)
    shard.client.set(shard.keys.epoch, "12345")
    found = overview(shard)
    assert (found.online, found.outbox) == (2, 2)
    assert (found.gateways, found.overdue_gateways) == (2, 1)
    assert found.epoch == 12345


def test_several_shards_are_counted_together(shard, client):
    prefixes = [f"{shard.keys.prefix}{number}" for number in range(3)]
    whole = Presence(settings(60), prefixes, SingleServer(client))
    for number, one in enumerate(whole.shards):
        one.gateways.heartbeat(GATEWAY)  # a gateway is known in every shard
        one.gateways.heartbeat(OTHER)
        signs = [LiveConnection(f"u{n}", f"{GATEWAY}:{n}") for n in range(number + 1)]
        one.store.connect(GATEWAY, signs)
    client.zadd(f"{prefixes[2]}gateways", {OTHER: 1})  # overdue in one of them
    whole.shards[1].store.hold_sweeps(1)
    assert whole.overview() == Overview(
        online=6,
        gateways=2,
        overdue_gateways=1,
        outbox=6,
        unstored=0,
        sweeps_held=1,
        sweep_holds=1,
        last_sweep_age=None,
        epoch=0,
        shards_away=0,
    )
    # Until the last of them was swept there is no age of the last sweep.
    for one in whole.shards[:2]:
        one.store.survey(10_000)
    assert whole.overview().last_sweep_age is None
    whole.shards[2].store.survey(10_000)
    assert whole.overview().last_sweep_age >= 0


def test_the_overview_tells_of_every_hold_of_the_sweeps(shard):
    shard.connect("ann")
    shard.heartbeat("ann")
    shard.kill_gateway(GATEWAY)
    before = shard.now()
    for times in (1, 2):
        for _ in range(2):  # a hold that goes on is the same hold
            sweep(shard.presence.shards[0], settings(60))
            found = overview(shard)
            assert found.sweeps_held
            assert found.sweep_holds == times
            assert found.last_sweep_age is not None
            assert 0 <= found.last_sweep_age <= shard.now() - before
        shard.store.hold_sweeps(0)
        assert not overview(shard).sweeps_held
        assert overview(shard).sweep_holds == times
    assert shard.is_online("ann")
    for _ in range(2):  # begins a hold that is over at once, and lets go
        sweep(shard.presence.shards[0], settings(0))
    assert not overview(shard).sweeps_held
    assert overview(shard).sweep_holds == 3
    assert not shard.is_online("ann")
