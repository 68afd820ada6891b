"""The loads of `loaded` and `many`: changes at a fixed rate, whether or not the server
keeps up.

Latency starts when a change is due, even if the generator starts the change late. So a
server that falls behind cannot hide it by slowing the load down ("coordinated
omission": Gil Tene, "How NOT to Measure Latency", 2013).

If a user is not connected when it should leave, this change is skipped and counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from bench.churn import Churn
from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Failed, Swarm, User

AWAY_SECONDS = 0.4
"""Target time that a user stays away. Half of the changes are goodbyes, so this decides
how many users are away at a time."""


class Steady(Churn):
    """Users leave and come back. `changes_per_s` counts both."""

    def __init__(self, swarm: Swarm, changes_per_s: float) -> None:
        super().__init__(swarm)
        self._changes_per_s = changes_per_s
        self.skipped = 0
        self._at_least_away = math.ceil(AWAY_SECONDS * changes_per_s / 2)
        # Leave out users whose friends are connected by another generator.
        known = {user.number for user in swarm.users}
        self._queue = deque(
            number
            for number in self._queue
            if known.issuperset(swarm.graph.friends_of(number))
        )
        self._away: deque[tuple[User, asyncio.Task[None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """Count from now on."""
        super().reset()
        self.skipped = 0

    async def run(self) -> None:
        """Begin each change when it is due, until cancelled."""
        begun_at = time.perf_counter()
        number = 0
        while True:
            due = begun_at + number / self._changes_per_s
            # uvloop's timers are exact to 1 ms. All measured times include this error.
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            number += 1
            if len(self._away) < self._at_least_away or number % 2:
                self._leave(due)
            else:
                self._start(self._come_back(*self._away.popleft(), due))

    async def finish(self) -> None:
        """Wait until the changes that are under way have been heard or are lost."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _leave(self, due: float) -> None:
        user = self.swarm.users[self._queue.popleft()]
        if not user.ready:
            self.skipped += 1
            self._queue.append(user.number)
            return
        change = self._begin(user, "offline", due)
        self._forget(user.number)
        self.swarm.leave(user)
        self._away.append((user, self._start(self._finish(user, change))))

    async def _come_back(
        self, user: User, goodbye: asyncio.Task[None], due: float
    ) -> None:
        await goodbye
        change = self._begin(user, "online", due)
        try:
            await self.swarm.connect(user)
        except Failed:
            self.failed += 1
        else:
            await self._finish(user, change)
        self._queue.append(user.number)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def steady(
    swarm: Swarm,
    mark: Marks,
    *,
    changes_per_s: float,
    seconds: float,
    warm_up: float,
) -> dict[str, Any]:
    """Connect all, then have users leave and come back at that rate."""
    await swarm.connect_all(swarm.users)
    await asyncio.sleep(2)
    load = Steady(swarm, changes_per_s)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(warm_up)
    await mark("start")
    load.reset()
    await asyncio.sleep(seconds)
    delivered, latencies, skipped = load.delivered, load.latencies, load.skipped
    await mark("end")
    running.cancel()
    await load.finish()
    return {
        "connections": sum(user.ready for user in swarm.users),
        "delivered_per_s": delivered / seconds,
        **percentiles_ms(latencies),
        "skipped": skipped,
        "lost": load.lost,
        "failed": load.failed,
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("start", "end"),
    }
