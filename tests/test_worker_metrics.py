"""The numbers that workers add up in Redis, and the clock by which gateways measure."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import redis

from app.gateway.redis_clock import REMEMBERED, RedisClock
from config import Settings
from models.presence import Presence
from models.presence.redis.backend import SingleServer
from models.worker_metrics import AUDIENCE, FANOUT, TASKS, TRANSITIONS
from tasks.metrics import WorkerMetrics
from tests.presence.shard import Shard
from tests.servers import free_port

ONLINE = TRANSITIONS.field("online")


def test_a_histogram_counts_each_value_in_one_bucket():
    counts: Counter[str] = Counter()
    for size in (0, 1, 2, 5, 6, 5000, 5001):
        counts.update(dict(AUDIENCE.counted(size)))
    assert counts.keys() <= set(AUDIENCE.fields())
    buckets, total = AUDIENCE.read(counts)
    found = dict(buckets)
    assert [bound for bound, _ in buckets] == [*AUDIENCE.bounds, math.inf]
    assert (found[1], found[5], found[10]) == (2, 4, 5)
    assert (found[1000], found[5000], found[math.inf]) == (5, 6, 7)
    assert total == 10_015


def test_the_values_of_a_label_are_counted_apart():
    counts = Counter(dict(TASKS.counted(0.25, "expire_due")))
    counts.update(dict(TASKS.counted(0.5, "end_due")))
    assert TASKS.read(counts, "expire_due")[1] == 0.25
    assert TASKS.read(counts, "end_due")[1] == 0.5
    assert TASKS.read(counts, "end_due")[0][-1] == (math.inf, 1)
    assert TASKS.read({}, "end_due")[1] == 0


@pytest.fixture
def shard(valkey_url: str):
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    shard = Shard.open(client)
    yield shard
    shard.remove()
    client.close()


def settings_of(url: str) -> Settings:
    return Settings(
        database_url="sqlite://",
        redis_url=url,
        broker_url=url,
        jwt_secret="s" * 32,
        service_key=None,
    )


@pytest.mark.integration
def test_workers_add_up_what_they_count(shard):
    for _ in range(2):
        worker = WorkerMetrics()
        worker.add(0, [(ONLINE, 3), *FANOUT.counted(0.002)])
        worker.write(shard.presence, 0)
    found = shard.presence.worker_counts.read([ONLINE, "other", *FANOUT.fields()])
    assert found[ONLINE] == 6
    assert "other" not in found
    assert FANOUT.read(found)[1] == 0.004


@pytest.mark.integration
def test_a_worker_writes_once_a_second_and_once_more_when_it_stops(shard, monkeypatch):
    monkeypatch.setattr("tasks.metrics.EVERY", 3600)
    read = shard.presence.worker_counts.read
    worker = WorkerMetrics()
    worker.write(shard.presence, 0)
    assert shard.all_keys() == set()  # nothing was counted
    for _ in range(3):
        worker.add(0, [(ONLINE, 1)])
        worker.write(shard.presence, 0)
    assert read([ONLINE]) == {ONLINE: 1}
    monkeypatch.setattr("tasks.drainer_policy.WorkerState.is_stopping", True)
    worker.write(shard.presence, 0)
    assert read([ONLINE]) == {ONLINE: 3}


@pytest.mark.integration
def test_what_redis_does_not_take_is_written_later(shard, monkeypatch):
    monkeypatch.setattr("tasks.metrics.PAUSE", 0)
    away = Presence.open(settings_of(f"redis://127.0.0.1:{free_port()}"))
    worker = WorkerMetrics()
    for _ in range(2):
        worker.add(0, [(ONLINE, 1)])
        worker.write(away, 0)
    worker.write(shard.presence, 0)
    assert shard.presence.worker_counts.read([ONLINE]) == {ONLINE: 2}


@pytest.mark.integration
def test_a_key_of_another_type_ends_no_task(shard):
    shard.client.set(shard.keys.worker_counts, "of another program")
    worker = WorkerMetrics()
    worker.add(0, [(ONLINE, 1)])
    worker.write(shard.presence, 0)
    assert shard.client.get(shard.keys.worker_counts) == "of another program"


@pytest.mark.integration
def test_shards_are_added_up(shard):
    prefixes = [f"{shard.keys.prefix}{number}" for number in range(3)]
    whole = Presence(shard.settings, prefixes, SingleServer(shard.client))
    worker = WorkerMetrics()
    for number in range(3):
        worker.add(number, [(ONLINE, 10**number)])
        worker.write(whole, number)
    assert whole.worker_counts.read([ONLINE]) == {ONLINE: 111}


def test_the_clock_of_redis_follows_the_fastest_reply():
    clock = RedisClock()
    assert clock.now() is None
    clock.answered(1_000_000)
    first = clock.now()
    assert first >= 1_000_000
    clock.answered(900_000)  # this reply was slow
    assert clock.now() >= first
    clock.answered(2_000_000)
    assert clock.now() >= 2_000_000
    for _ in range(REMEMBERED):
        clock.answered(1_500_000)
    assert 1_500_000 <= clock.now() < 2_000_000
    clock.was_set()
    assert clock.now() is None
    clock.answered(5)
    assert 5 <= clock.now() < 1_000_000
