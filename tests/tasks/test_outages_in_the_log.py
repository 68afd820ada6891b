"""What workers say while something is away: once, and then once a minute."""

from __future__ import annotations

import logging
import os
import time

import pytest

from tasks import broadcast, expiry
from tasks.outage_log import OF_BEAT, OutageFilter
from tasks.worker import OUTAGES

OF_ALL = OUTAGES | OF_BEAT


@pytest.fixture
def clock(monkeypatch):
    times = {"now": 1000.0}
    monkeypatch.setattr(time, "monotonic", lambda: times["now"])
    return times


def passes(outages: OutageFilter, message: str) -> bool:
    cause = (ValueError, ValueError(message), None)
    record = logging.LogRecord("t", logging.WARNING, "", 0, message, ("why",), cause)
    passed = outages.filter(record)
    assert bool(record.exc_info) != (passed and message in OF_ALL), "a traceback"
    return passed


@pytest.mark.parametrize("message", OF_ALL)
def test_an_outage_is_said_once_a_minute(clock, message):
    # Found by `make chaos`: ten seconds without a database were hundreds of lines.
    outages = OutageFilter(OF_ALL)
    said = []
    for second in range(125):
        clock["now"] = 1000.0 + second
        if passes(outages, message):
            said.append(second)
    assert said == [0, 60, 120]


@pytest.mark.usefixtures("clock")
def test_all_processes_and_both_tasks_together_say_it_once():
    outages = OutageFilter(OF_ALL)
    if (child := os.fork()) == 0:
        os._exit(passes(outages, broadcast.NOT_BROADCAST))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert not passes(outages, expiry.NOT_EXPIRED)
    assert passes(outages, broadcast.DRAIN_NOT_REQUESTED), (
        "the broker is something else"
    )


@pytest.mark.usefixtures("clock")
def test_anything_else_is_said_as_often_as_it_is():
    outages = OutageFilter(OF_ALL)
    assert all(passes(outages, "3 users expired") for _ in range(3))
