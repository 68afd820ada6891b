"""The load of `throughput`: real connects and disconnects, as many as the server holds.

A closed loop: `window` users are changing at any time. One leaves. When every connected
friend has heard of it, the user connects again. When all have heard of that, it is the
next user's turn. So the server sets the pace, and a notification that never comes is
seen.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Failed, Swarm, User

LOST_AFTER = 5.0
"""Seconds after which a notification that did not come is counted as lost."""


@dataclass(slots=True)
class Change:
    """A change that is under way, and who has yet to hear of it. `at`: when it is due,
    the end of its grace included."""

    status: str
    at: float
    awaited: set[int]
    heard_by_all: asyncio.Future[None]


class Churn:
    """Users who come and go, and the notifications that tell of it. If `close_grace` is
    None, they leave. Otherwise they close their tabs, and the server waits for so many
    seconds before it tells anybody."""

    def __init__(self, swarm: Swarm, close_grace: float | None = None) -> None:
        self.swarm = swarm
        self._goodbye = swarm.leave if close_grace is None else swarm.close_tab
        self._grace = close_grace or 0.0
        self.delivered = 0
        self.latencies: list[float] = []
        self.changes = 0
        self.lost = 0
        self.failed = 0
        self._stopped = False
        self._under_way: dict[int, Change] = {}
        numbers = list(range(len(swarm.users)))
        random.Random(1).shuffle(numbers)  # noqa: S311 - the same order each time
        self._queue = deque(numbers)
        swarm.on_change = self._heard

    def reset(self) -> None:
        """Count from now on."""
        self.delivered = self.changes = self.lost = self.failed = 0
        self.latencies = []

    async def walk(self) -> None:
        """Have one user after the other leave and come back, until `stop`."""
        while not self._stopped:
            user = self.swarm.users[self._queue.popleft()]
            if user.ready:
                due = time.perf_counter() + self._grace
                change = self._begin(user, "offline", due)
                self._forget(user.number)
                self._goodbye(user)
                await self._finish(user, change, self._grace + LOST_AFTER)
            change = self._begin(user, "online", time.perf_counter())
            try:
                await self.swarm.connect(user)
            except Failed:
                self.failed += 1
                await asyncio.sleep(0.1)
            else:
                await self._finish(user, change)
            self._queue.append(user.number)

    async def stop(self, walkers: list[asyncio.Task[None]]) -> None:
        """End the walkers, wherever they are."""
        # A handshake may take a cancellation for a failure of its own: hence both.
        self._stopped = True
        for walker in walkers:
            walker.cancel()
        await asyncio.gather(*walkers, return_exceptions=True)

    def _begin(self, user: User, status: str, due: float) -> Change:
        users = self.swarm.users
        friends = self.swarm.graph.friends_of(user.number)
        awaited = {number for number in friends if users[number].ready}
        future = self.swarm.loop.create_future()
        change = Change(status, due, awaited, future)
        self._under_way[user.number] = change
        return change

    async def _finish(
        self, user: User, change: Change, patience: float = LOST_AFTER
    ) -> None:
        if change.awaited:
            try:
                await asyncio.wait_for(change.heard_by_all, patience)
            except TimeoutError:
                self.lost += len(change.awaited)
        self.changes += 1
        self._under_way.pop(user.number, None)

    def _heard(self, by: int, subject: int, status: str, _: int) -> None:
        self.delivered += 1
        change = self._under_way.get(subject)
        if change is not None and change.status == status:
            self.latencies.append(time.perf_counter() - change.at)
            self._tick_off(change, by)

    def _forget(self, number: int) -> None:
        """A user who leaves need not hear of anything any more."""
        for friend in self.swarm.graph.friends_of(number):
            change = self._under_way.get(friend)
            if change is not None:
                self._tick_off(change, number)

    @staticmethod
    def _tick_off(change: Change, number: int) -> None:
        change.awaited.discard(number)
        if not change.awaited and not change.heard_by_all.done():
            change.heard_by_all.set_result(None)


async def churn(
    swarm: Swarm,
    mark: Marks,
    *,
    windows: list[int],
    seconds: float,
    warm_up: float,
    close_grace: float | None = None,
) -> dict[str, Any]:
    """Measure one window after the other."""
    await swarm.connect_all(swarm.users)
    await asyncio.sleep(2)
    rows = []
    for window in windows:
        load = Churn(swarm, close_grace)
        walkers = [asyncio.create_task(load.walk()) for _ in range(window)]
        await asyncio.sleep(warm_up)
        start, end = f"start {window}", f"end {window}"
        await mark(start)
        load.reset()
        dropped = swarm.dropped
        await asyncio.sleep(seconds)
        counted = (load.delivered, load.changes, load.lost, load.failed)
        dropped = swarm.dropped - dropped
        latencies = load.latencies
        await mark(end)
        await load.stop(walkers)
        delivered, changes, lost, failed = counted
        rows.append(
            {
                "window": window,
                "delivered": delivered,
                "delivered_per_s": delivered / seconds,
                "changes_per_s": changes / seconds,
                **percentiles_ms(latencies),
                "lost": lost,
                "failed": failed,
                "dropped": dropped,
                "generator_share": mark.cpu_share(start, end),
            }
        )
        # A user who was on the way when the walkers stopped comes back.
        for user in swarm.users:
            swarm.cut(user) if not user.ready else None
        await asyncio.sleep(1)
        await swarm.connect_all([user for user in swarm.users if not user.ready])
        await asyncio.sleep(1)
    return {"rows": rows}
