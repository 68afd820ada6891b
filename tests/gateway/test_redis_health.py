"""When a gateway believes Redis that a user is gone."""

from __future__ import annotations

import time

import pytest

from app.gateway.shard_session import FLUSHES, RedisHealth
from config import Settings

SETTINGS = Settings.from_env({"SECRET_KEY": "s" * 32})
WITHIN = FLUSHES * SETTINGS.flush_interval
HOLD = SETTINGS.breaker_hold


@pytest.fixture
def clock(monkeypatch):
    """Sets the monotonic time."""
    times = {"now": 1000.0}
    monkeypatch.setattr(time, "monotonic", lambda: times["now"])

    def set_to(now):
        times["now"] = now

    return set_to


def test_redis_is_believed_while_it_answers(clock):
    health = RedisHealth(SETTINGS)
    assert health.is_trusted()
    clock(1000 + WITHIN + 0.1)
    assert not health.is_trusted()
    health.answered(1)
    assert health.is_trusted()


def test_after_a_loss_the_others_have_time_to_register(clock):
    health = RedisHealth(SETTINGS)
    health.lost_state()
    for seconds, given in ((0, False), (HOLD, False), (HOLD + 0.1, True)):
        clock(1000 + seconds)
        health.answered(1)
        assert health.is_trusted() is given
