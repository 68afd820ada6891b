"""Limits of calls, counted in a real server."""

from __future__ import annotations

import threading
import time

import pytest

pytestmark = pytest.mark.integration

HOUR = 3_600_000


def test_so_many_calls_at_once_and_then_one_in_each_part_of_the_window(shard):
    limits = shard.presence.limits
    assert [limits.count("rest", "ann", 3, HOUR) for _ in range(3)] == [0, 0, 0]
    for _ in range(3):  # a refused call is not counted
        assert HOUR / 3 - 10_000 < limits.count("rest", "ann", 3, HOUR) <= HOUR / 3
    key = shard.keys.limit("rest:ann")
    assert HOUR - 10_000 < shard.client.pttl(key) <= HOUR
    # A third of the window later.
    unused_at = float(shard.client.get(key))
    shard.client.set(key, unused_at - HOUR / 3)
    assert limits.count("rest", "ann", 3, HOUR) == 0
    assert limits.count("rest", "ann", 3, HOUR) > 0


def test_callers_and_kinds_are_counted_apart(shard):
    limits = shard.presence.limits
    assert limits.count("rest", "ann", 1, HOUR) == 0
    assert limits.count("rest", "ann", 1, HOUR) > 0
    assert limits.count("rest", "bob", 1, HOUR) == 0
    assert limits.count("tickets", "ann", 1, HOUR) == 0


def test_after_a_pause_all_calls_are_allowed_again(shard):
    limits = shard.presence.limits
    assert [limits.count("rest", "ann", 2, 200) for _ in range(2)] == [0, 0]
    time.sleep(0.25)
    assert shard.client.get(shard.keys.limit("rest:ann")) is None
    assert [limits.count("rest", "ann", 2, 200) for _ in range(2)] == [0, 0]


def test_many_at_once_are_counted_exactly(shard):
    waits: list[int] = []
    start = threading.Barrier(8)

    def call() -> None:
        start.wait()
        waits.extend(
            shard.presence.limits.count("rest", "ann", 10, HOUR) for _ in range(5)
        )

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits.count(0) == 10
