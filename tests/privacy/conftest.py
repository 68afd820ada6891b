"""One whole Greendot for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.system import System


@pytest.fixture(scope="session")
def steady() -> Iterator[System]:
    """A running Greendot, two gateways. A connection lives ten minutes without
    a heartbeat, so `last_seen` moves only when a test wants it."""
    system = System(
        PRESENCE_ONLINE_TTL="600",
        PRESENCE_HEARTBEAT_INTERVAL="200",
        PRESENCE_MAX_FRAMES_PER_SECOND="1000",
    )
    with closing(system):
        try:
            system.start()
        except BaseException:
            sys.stderr.write(system.logs())
            raise
        yield system
