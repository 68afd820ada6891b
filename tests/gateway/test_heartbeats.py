"""A process that stood still cuts nobody for his silence, and who was lost by Redis is
shown what he has missed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import gevent
import pytest
import redis

from app.gateway.gateway import Gateway
from app.gateway.heartbeats import STOOD_STILL
from app.new_users import NewUsers
from models.presence.store import LiveConnection
from tests.gateway.client import BEFORE, Client, open_them

pytestmark = pytest.mark.integration


@pytest.fixture
def gateway(settings, presence, engine, tokens) -> Gateway:
    quick = replace(settings, online_ttl=1.0, gateway_ttl=1.0)
    return Gateway(quick, presence, engine, NewUsers(engine), tokens)


def step(gateway, stood_still):
    """One step of the heartbeats, in which the whole process stands still."""
    waiting = gevent.spawn(gateway.heartbeats[0].step)
    gevent.sleep(0)
    time.sleep(stood_still)
    waiting.get(timeout=5)


def test_it_reads_before_it_judges(gateway):
    with closing(Client(gateway, "ann")) as ann:
        connection = ann.connection
        gateway.sessions[0].connect(connection)
        step(gateway, STOOD_STILL + 0.2)
        assert not connection.is_closing
        # It has had its time: a whole interval in which it was read.
        step(gateway, 0)
        assert connection.is_closing


def test_a_clock_that_was_set_back_is_noticed(gateway):
    heartbeats = gateway.heartbeats[0]
    is_set_back, now = heartbeats._is_set_back, 1_700_000_000_000
    assert not is_set_back(now, time.monotonic()), "nothing is known before the first"
    sent_at = heartbeats._clock[1] + 60
    assert not is_set_back(now + 60_000, sent_at)
    sent_at = heartbeats._clock[1] + 1
    assert not is_set_back(now + 60_950, sent_at), "clocks differ a little"
    sent_at = heartbeats._clock[1] + 1
    assert is_set_back(now + 61_000, sent_at), "forward, but not by a second"
    sent_at = heartbeats._clock[1] + 1
    assert is_set_back(now, sent_at)
    sent_at = heartbeats._clock[1] + 1
    assert not is_set_back(now + 3_600_000, sent_at), "set forward is no matter"


def test_whom_redis_had_lost_gets_a_fresh_snapshot(settings, presence, engine, tokens):
    """Where gateways are many nobody could tell him anything: Redis did not know that
    he is here."""
    gateway = Gateway(settings, presence, engine, NewUsers(engine), tokens)
    store, keys = presence.shards[0].store, presence._keys[0]
    gateway.heartbeats[0].flush()
    with closing(Client(gateway, "ann")) as ann:
        open_them(gateway, ann.connection)
        assert ann.statuses()[BEFORE] == "offline"
        with closing(redis.Redis.from_url(settings.redis_url)) as client:
            client.delete(keys.user_connections("ann"))
        store.connect("other:1", [LiveConnection(BEFORE, "other:1:1")])
        assert presence.gateway_streams.holders(["ann", BEFORE]) == {
            "other:1": {BEFORE}
        }
        gateway.sessions[0].heartbeat(ann.connection)
        gateway.heartbeats[0].flush()
        assert presence.gateway_streams.holders(["ann"]) == {gateway.id: {"ann"}}
        gevent.with_timeout(3, gateway.snapshots.step)
        assert ann.statuses()[BEFORE] == "online"
