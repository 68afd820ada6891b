"""What the loops of a gateway say of an outage."""

from __future__ import annotations

import logging
import time

import pytest

from app.api import metrics
from app.outages import Outage
from config import Settings
from models.presence import Presence, PresenceUnavailable
from tests.servers import free_port


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(Outage, "_shared", {})  # other tests have outages, too
    times = {"now": 1000.0}
    monkeypatch.setattr(time, "monotonic", lambda: times["now"])
    return times


def test_all_loops_together_say_it_once_a_minute_and_when_it_is_over(clock, caplog):
    loops = [Outage(name) for name in ("heartbeats", "listener", "departures")]
    for _ in range(2):  # another one is said at once
        caplog.clear()
        for second in range(125):
            clock["now"] += 1
            for loop in loops:
                loop.failed(PresenceUnavailable("OOM"))
            if second % 7 == 0:
                loops[2].succeeded()  # it had nothing to do
        assert caplog.messages == 3 * ["heartbeats: OOM"]
        for loop in loops:
            loop.succeeded()
            loop.succeeded()
        assert caplog.messages[3:] == ["departures: works again after 124.0 s"]


def test_two_things_that_are_away_are_two_outages(clock, caplog):
    redis, database = Outage("heartbeats"), Outage("snapshots")
    caplog.set_level(logging.WARNING)
    redis.failed(PresenceUnavailable("READONLY"))
    database.failed(OSError("locked"))
    clock["now"] += 5
    database.succeeded()
    assert caplog.messages == [
        "heartbeats: READONLY",
        "snapshots: locked",
        "snapshots: works again after 5.0 s",
    ]
    redis.succeeded()


def test_a_scrape_without_redis_is_said_once_a_minute(clock, caplog, monkeypatch):
    outage = Outage("/metrics has no state", alone=True)
    monkeypatch.setattr(metrics, "_no_state", outage)
    environ = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "PRESENCE_JWT_SECRET": 32 * "x",
    }
    presence = Presence.open(Settings.from_env(environ))
    for _ in range(7):
        clock["now"] += 15
        assert metrics._read(presence) == metrics.Found()
    said = [text for text in caplog.messages if text.startswith("/metrics has no ")]
    assert len(said) == 2, caplog.messages
