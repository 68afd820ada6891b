"""How many sockets a process takes, by its limit of open files."""

from __future__ import annotations

import pytest

from app.server.capacity import Capacity, needed_files
from config import Settings


def settings(connections: int) -> Settings:
    return Settings.from_env(
        {
            "PRESENCE_JWT_SECRET": "s" * 32,
            "PRESENCE_WORKER_CONNECTIONS": str(connections),
        }
    )


def test_with_files_enough_it_is_as_asked_for():
    asked = settings(10_000)
    assert needed_files(asked) == 11_128
    assert Capacity.of(asked, 11_128) == Capacity(sockets=10_000, http=1000)
    assert Capacity.of(settings(1), 2**31) == Capacity(sockets=1, http=1000)


@pytest.mark.parametrize("connections", [1, 20, 1000, 10_000])
@pytest.mark.parametrize("files", [16, 64, 140, 256, 1024, 4096, 11_127])
def test_with_fewer_files_both_have_room(connections, files):
    capacity = Capacity.of(settings(connections), files)
    assert 1 <= capacity.sockets <= connections
    assert capacity.http >= 1
    assert capacity.sockets <= capacity.sockets_with_refused < capacity.connections
    if files > 200:
        assert capacity.connections <= max(files - 128, connections + 1000)
