"""One user who comes and goes, and how long it takes until friends of the user know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Swarm, User

HEARD_WITHIN = 5.0
"""Seconds after which a friend who has not heard of an action is given up."""


class _Action:
    """What the user does now, and who has yet to hear of it. The next one waits until
    all have heard of this, so no late frame is charged to it."""

    def __init__(self, status: str, friends: Sequence[User]) -> None:
        self.status = status
        self.awaited = {friend.number for friend in friends}
        self.heard_by_all = asyncio.Event()
        self.at = time.perf_counter()

    async def finish(self) -> int:
        """Wait for the friends; how many have not heard of it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.heard_by_all.wait(), HEARD_WITHIN)
        return len(self.awaited)


async def toggle(
    swarm: Swarm,
    mark: Marks,
    hub: User,
    friends: Sequence[User],
    *,
    seconds: float,
    rate: float,
) -> dict[str, Any]:
    """`hub` connects and leaves in turn, at most `rate` times a second. Times run from
    the action to the frame of each of `friends`, who are connected."""
    taken: dict[str, list[float]] = {"online": [], "offline": []}
    action = _Action("", ())

    def on_change(by: int, subject: int, status: str, _: int) -> None:
        if subject != hub.number or status != action.status or by not in action.awaited:
            return
        taken[status].append(time.perf_counter() - action.at)
        action.awaited.remove(by)
        if not action.awaited:
            action.heard_by_all.set()

    async def act(status: str) -> int:
        nonlocal action
        action = _Action(status, friends)
        if status == "online":
            await swarm.connect(hub)
        else:
            swarm.leave(hub)
        return await action.finish()

    swarm.on_change = on_change
    await act("online")  # once, so that everything is warm
    await asyncio.sleep(1)
    await act("offline")
    await asyncio.sleep(2)
    for of_status in taken.values():
        of_status.clear()
    await mark("start")
    until = time.perf_counter() + seconds
    actions = missing = 0
    while time.perf_counter() < until:
        for status in ("online", "offline"):
            missing += await act(status)
            actions += 1
            await asyncio.sleep(max(0, action.at + 1 / rate - time.perf_counter()))
    await mark("end")
    every = [*taken["online"], *taken["offline"]]
    return {
        **percentiles_ms(every),
        "online": percentiles_ms(taken["online"]),
        "offline": percentiles_ms(taken["offline"]),
        "actions": actions,
        "missing": missing,
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("start", "end"),
    }
