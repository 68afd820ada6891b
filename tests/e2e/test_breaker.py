"""No false mass offline: Redis that stands still puts nobody offline, and a gateway
that really dies does, though it was the only one."""

from __future__ import annotations

import signal
import time

import pytest

from tests.clients import Client
from tests.system import QUICK, wait_until

pytestmark = pytest.mark.e2e

TTL = float(QUICK["PRESENCE_ONLINE_TTL"])


@pytest.mark.slow
def test_redis_that_stood_still_puts_nobody_offline(own_system):
    system = own_system
    system.befriend("ada", "grace", "linus")
    with (
        Client(system, "grace", web=1).opened() as grace,
        Client(system, "ada").opened(),
        Client(system, "linus", web=1).opened(),
    ):
        assert len(grace.changes(1)) == 1
        system.server.signal(signal.SIGSTOP)
        time.sleep(TTL + 2)
        system.server.signal(signal.SIGCONT)
        assert grace.changes(TTL) == []
        assert all(map(system.is_online, ("ada", "grace", "linus")))
        wait_until(lambda: system.redis.zcard("gateways") == 2)


def test_the_only_gateway_dies_and_its_users_go_offline(own_system_of):
    system = own_system_of()
    system.befriend("ada", "grace")
    Client(system, "ada").opened()
    Client(system, "grace").opened()
    # Sweeps have watched for as long as a gateway may be silent: no doubt, no hold.
    time.sleep(float(QUICK["PRESENCE_GATEWAY_TTL"]) + 1)
    system.processes["web0"].kill()
    wait_until(lambda: not system.is_online("ada"), 10)
    assert not system.is_online("grace")
    assert not system.redis.exists("gateways")
