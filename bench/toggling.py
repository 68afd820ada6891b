"""One user who comes and goes, and how long it takes until his friends know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Swarm, User


async def toggle(
    swarm: Swarm,
    mark: Marks,
    hub: User,
    friends: Sequence[User],
    *,
    seconds: float,
    rate: float,
) -> dict[str, Any]:
    """`hub` connects and leaves in turn, `rate` times a second; from the moment of his
    action to the frame of each of `friends`, who are connected."""
    acted_at: dict[str, float] = {}
    taken: dict[str, list[float]] = {"online": [], "offline": []}

    def on_change(_: int, subject: int, status: str, __: int) -> None:
        if subject == hub.number and status in acted_at:
            taken[status].append(time.perf_counter() - acted_at[status])

    swarm.on_change = on_change
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
