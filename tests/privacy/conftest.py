"""A whole Greendot for the tests of this folder, and another one for those that hurt
it. After a loss of Redis, users who were never online have the time of the loss."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.system import System


@pytest.fixture(scope="session")
def steady() -> Iterator[System]:
    """A running Greendot, two gateways. A connection lives ten minutes without
    a heartbeat, so `last_seen` moves only when a test wants it."""
    with _running() as system:
        yield system


@pytest.fixture(scope="module")
def hurt() -> Iterator[System]:
    """As `steady`, but tests may stop its processes and empty its Redis."""
    with _running() as system:
        yield system


@contextmanager
def _running() -> Iterator[System]:
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
