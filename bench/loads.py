"""What the generator does: one coroutine per scenario, the same for every server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.churn import churn
from bench.hydration import hydrate
from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.storm import storm
from bench.swarm import Swarm

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


async def latency(
    swarm: Swarm, mark: Marks, *, seconds: float, rate: float
) -> dict[str, Any]:
    """User 0 connects and leaves in turn, `rate` times a second; from the moment of his
    action to each friend's frame."""
    hub, *friends = swarm.users
    acted_at: dict[str, float] = {}
    taken: dict[str, list[float]] = {"online": [], "offline": []}

    def on_change(_: int, subject: int, status: str, __: int) -> None:
        if subject == 0 and status in acted_at:
            taken[status].append(time.perf_counter() - acted_at[status])

    swarm.on_change = on_change
    await swarm.connect_all(friends)
    await swarm.connect(hub)  # once, so that everything is warm
    await asyncio.sleep(1)
    swarm.leave(hub)
    await asyncio.sleep(2)
    for of_status in taken.values():
        of_status.clear()
    await mark("start")
    begin = time.perf_counter()
    actions = int(seconds * rate) // 2 * 2
    for action in range(actions):
        await asyncio.sleep(max(0, begin + action / rate - time.perf_counter()))
        status = "offline" if action % 2 else "online"
        acted_at[status] = time.perf_counter()
        if status == "online":
            await swarm.connect(hub)
        else:
            swarm.leave(hub)
    await asyncio.sleep(1)
    await mark("end")
    every = [*taken["online"], *taken["offline"]]
    return {
        **percentiles_ms(every),
        "online": percentiles_ms(taken["online"]),
        "offline": percentiles_ms(taken["offline"]),
        "actions": actions,
        "missing": actions * len(friends) - len(every),
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("start", "end"),
    }


LOADS: dict[str, Load] = {
    "idle": idle,
    "latency": latency,
    "throughput": churn,
    "storm": storm,
    "hydrate": hydrate,
}
