"""A process that stood still: nobody is cut for its silence."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import gevent
import pytest

from app.gateway.gateway import Gateway
from app.gateway.heartbeats import STOOD_STILL
from tests.gateway.client import Client

pytestmark = pytest.mark.integration


@pytest.fixture
def gateway(settings, presence, engine) -> Gateway:
    quick = replace(settings, online_ttl=1.0, gateway_ttl=1.0)
    return Gateway(quick, presence, engine)


def step(gateway, stood_still):
    """One step of the heartbeats, in which the whole process stands still."""
    steps = gateway._lanes[0].steps()
    waiting = gevent.spawn(steps["heartbeats"])
    gevent.sleep(0)
    time.sleep(stood_still)
    waiting.get(timeout=5)


def test_it_reads_before_it_judges(gateway, settings):
    with closing(Client(gateway, settings, "ann")) as ann:
        connection = ann.connection
        gateway.hub.add(connection)
        gateway._lanes[0].add(connection)
        step(gateway, STOOD_STILL + 0.2)
        assert not connection.is_closing
        # It has had its time: a whole interval in which it was read.
        step(gateway, 0)
        assert connection.is_closing
