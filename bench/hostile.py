"""The load of `hostile`: the latency of a normal user and their friends, while somebody
else behaves badly."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

from bench.attackers import MANY, PER_USER
from bench.graph import user_id
from bench.marks import Marks
from bench.swarm import Swarm
from bench.toggling import toggle
from config import PROJECT_ROOT

WARM_UP = 10.0
"""Seconds for the attackers to arrive, and to fill the kernel's buffers."""


async def hostile(
    swarm: Swarm,
    mark: Marks,
    *,
    kind: str,
    service_key: str,
    seconds: float,
    rate: float,
) -> dict[str, Any]:
    """User 0 connects and leaves; `kind` of `bench.attackers.KINDS` is there, too."""
    friends = len(swarm.graph.friends_of(0))
    hub, *near = swarm.users[: friends + 1]
    await swarm.connect_all(near)
    await mark("before")
    with _attackers(swarm, friends + 1, kind, service_key):
        await asyncio.sleep(WARM_UP)
        result = await toggle(swarm, mark, hub, near, seconds=seconds, rate=rate)
        await mark("attacked")
    return result


@contextmanager
def _attackers(swarm: Swarm, many: int, kind: str, service_key: str) -> Iterator[None]:
    host, port = swarm.address.split(":")
    others = swarm.users[many + 2 :][: MANY // PER_USER + 1]
    plan = {
        "kind": kind,
        "host": host,
        "port": int(port),
        "many": user_id(many),
        "many_token": swarm.users[many].token,
        "friend": user_id(many + 1),
        "tokens": [user.token for user in others],
        "service_key": service_key,
    }
    process = Popen(
        [sys.executable, "-m", "bench.attackers"],
        cwd=PROJECT_ROOT,
        stdin=PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker
    try:
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
        yield
    finally:
        process.stdin.close()
        process.wait()
