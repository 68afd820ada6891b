"""What workers say while something is away: once, and then once a minute."""

from __future__ import annotations

import logging
import time

import pytest

from tasks import broadcast, expiry
from tasks.patience import OutageFilter


@pytest.fixture
def clock(monkeypatch):
    times = {"now": 1000.0}
    monkeypatch.setattr(time, "monotonic", lambda: times["now"])
    return times


def passes(outages: OutageFilter, message: str) -> bool:
    record = logging.LogRecord("t", logging.WARNING, "", 0, message, ("why",), None)
    return outages.filter(record)


@pytest.mark.parametrize("message", [broadcast.NOT_BROADCAST, expiry.NOT_EXPIRED])
def test_an_outage_is_said_once_a_minute(clock, message):
    # Found by `make chaos`: ten seconds without a database were hundreds of lines.
    outages = OutageFilter()
    said = []
    for second in range(125):
        clock["now"] = 1000.0 + second
        if passes(outages, message):
            said.append(second)
    assert said == [0, 60, 120]


@pytest.mark.usefixtures("clock")
def test_anything_else_is_said_as_often_as_it_is():
    outages = OutageFilter()
    assert all(passes(outages, "3 users expired") for _ in range(3))
