"""What the generator does: one coroutine per scenario, the same for every server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bench.beats import beats
from bench.churn import churn
from bench.crowd import crowd
from bench.hostile import hostile
from bench.hydration import hydrate
from bench.marks import Marks
from bench.steady import steady
from bench.storm import storm
from bench.swarm import Swarm
from bench.toggling import toggle

Load = Callable[..., Awaitable[dict[str, Any]]]


async def idle(swarm: Swarm, mark: Marks, *, seconds: float) -> dict[str, Any]:
    """Connect all, then do nothing but heartbeats."""
    await mark("empty")
    await swarm.connect_all(swarm.users)
    await mark("arrived")
    await asyncio.sleep(3)  # the server's own work for the arrivals ends
    await mark("start")
    await asyncio.sleep(seconds)
    await mark("end")
    arrival = mark.seconds("empty", "arrived")
    return {
        "connections": sum(user.ready for user in swarm.users),
        "handshakes_per_s": len(swarm.users) / arrival,
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("empty", "arrived"),
    }


async def hold(swarm: Swarm, mark: Marks) -> dict[str, Any]:
    """Connect all, then do nothing but heartbeats until the end is asked for."""
    await swarm.connect_all(swarm.users)
    await mark("held")
    return {
        "connections": sum(user.ready for user in swarm.users),
        "dropped": swarm.dropped,
    }


async def latency(
    swarm: Swarm, mark: Marks, *, seconds: float, rate: float
) -> dict[str, Any]:
    """User 0 connects and leaves in turn, at most `rate` times a second, and all others
    are friends of that user."""
    hub, *friends = swarm.users
    await swarm.connect_all(friends)
    return await toggle(swarm, mark, hub, friends, seconds=seconds, rate=rate)


LOADS: dict[str, Load] = {
    "idle": idle,
    "latency": latency,
    "throughput": churn,
    "steady": steady,
    "hold": hold,
    "storm": storm,
    "hydrate": hydrate,
    "hostile": hostile,
    "crowd": crowd,
    "beats": beats,
}
