"""Few functions of ours lie between a method of the store and the socket to Redis."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from config import PROJECT_ROOT
from models.presence.store import Caller, ClosedConnection, LiveConnection
from tests.presence.shard import GATEWAY, Shard

pytestmark = pytest.mark.integration

MODELS = str(PROJECT_ROOT / "models")
DEEPEST = 5
ANN = LiveConnection("ann", f"{GATEWAY}:1")

CALLS = {
    "connect": lambda shard: shard.store.connect(GATEWAY, [ANN]),
    "heartbeat": lambda shard: shard.gateways.heartbeat(GATEWAY, [ANN]),
    "release": lambda shard: shard.store.release_and_expire(
        Caller(GATEWAY, 0), [ClosedConnection("ann", ANN.connection_id, 0)], ["ann"]
    ),
    "expire": lambda shard: shard.store.expire(["ann"]),
    "drain": lambda shard: shard.outbox.take("token"),
    "online": lambda shard: shard.presence.online(["ann"]),
    "statuses": lambda shard: shard.presence.statuses(["ann"]),
}


def path_to_the_socket(call: Callable[[], object]) -> list[str]:
    """The functions in `models/` that are active when the command is sent."""
    paths: list[list[str]] = []

    def look(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "send_packed_command":
            path, caller = [], frame.f_back
            while caller is not None:
                if caller.f_code.co_filename.startswith(MODELS):
                    path.insert(0, caller.f_code.co_name)
                caller = caller.f_back
            paths.append(path)

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return paths[-1]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_not_deep(shard: Shard, name: str) -> None:
    CALLS[name](shard)  # loads the scripts
    path = path_to_the_socket(lambda: CALLS[name](shard))
    assert path
    assert len(path) <= DEEPEST, path
