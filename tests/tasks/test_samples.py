"""Samples of the state, and the transitions that were broadcast last."""

from __future__ import annotations

import pytest
import redis

from models.events import Transition
from models.presence.samples import EXPIRE_MS, KEPT_SAMPLES, KEPT_TRANSITIONS, Sample
from models.worker_metrics import TRANSITIONS
from tasks.metrics import WorkerMetrics
from tasks.samples import sample
from tests.presence.shard import GATEWAY, Shard

pytestmark = pytest.mark.integration


@pytest.fixture
def shard(valkey_url: str) -> Shard:
    return Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))


def test_a_sample_says_what_is(shard):
    shard.gateways.heartbeat(GATEWAY, [], 0, connections=3)
    shard.connect("ann")
    counts = {TRANSITIONS.field("online"): 4, TRANSITIONS.field("offline"): 2}
    shard.presence.worker_counts.add(0, counts)
    expected = Sample(online=1, connections=3, gateways=1, outbox=1, transitions=6)
    assert sample(shard.presence) == expected


def test_an_hour_of_samples_is_kept(shard):
    samples = shard.presence.samples
    assert samples.read() == []
    for number in range(KEPT_SAMPLES + 3):
        samples.add(Sample(number, 0, 0, 0, 0))
    found = samples.read()
    assert [one.online for _, one in found] == list(range(3, KEPT_SAMPLES + 3))
    assert abs(found[-1][0] - shard.presence.now()) < EXPIRE_MS
    assert 0 < shard.client.pttl(shard.keys.samples) <= EXPIRE_MS


def test_the_newest_transitions_are_kept(shard):
    metrics = WorkerMetrics()
    for number in range(KEPT_TRANSITIONS + 5):
        metrics.note(0, [Transition("ann", "online", number + 1)])
    metrics.add(0, [("counted", 1)])
    metrics.write(shard.presence, 0)
    found = shard.presence.recent_transitions.read()
    assert len(found) == KEPT_TRANSITIONS
    assert found[0] == Transition("ann", "online", KEPT_TRANSITIONS + 5)
    assert 0 < shard.client.pttl(shard.keys.recent) <= EXPIRE_MS


def test_gateways_and_their_loads(shard):
    shard.heartbeat("ann")
    shard.connect("ann")
    (load,) = shard.presence.gateway_loads()
    assert (load.gateway_id, load.users, load.is_overdue) == (GATEWAY, 1, False)
    shard.kill_gateway(GATEWAY)
    (load,) = shard.presence.gateway_loads()
    assert load.is_overdue
