"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Whatever is put in here is closed at the end."""
    held: list[socket.socket] = []
    yield held
    for sock in held:
        sock.close()
