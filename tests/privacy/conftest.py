"""A whole Greendot for the tests of this folder, and another one for those that hurt
it. After a loss of Redis, users who were never online have the time of the loss."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system import System, started


@pytest.fixture(scope="session")
def steady() -> Iterator[System]:
    """A running Greendot, two gateways. A connection lives ten minutes without
    a heartbeat, so `last_seen` moves only when a test wants it."""
    with started(_steady()) as system:
        yield system


@pytest.fixture(scope="module")
def hurt() -> Iterator[System]:
    """As `steady`, but tests may stop its processes and empty its Redis."""
    with started(_steady()) as system:
        yield system


def _steady() -> System:
    return System(
        PRESENCE_ONLINE_TTL="600",
        PRESENCE_HEARTBEAT_INTERVAL="200",
        PRESENCE_MAX_FRAMES_PER_SECOND="1000",
    )
