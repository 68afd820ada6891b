"""The load of `storm`: every client is cut and reconnects at once.

A client's map is right when it says of every friend what is true: online, for all come
back. The storm is over when every map is right and stays so.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

from bench.graph import user_id
from bench.marks import Marks
from bench.swarm import Failed, Swarm, User

LONGEST = 150.0
STAYS_RIGHT = 5.0
"""Seconds for which all maps must stay right: longer than the server's grace."""
FIRST_RETRY, LONGEST_RETRY = 0.5, 5.0


class Maps:
    """The map of every client, newest timestamp first. `right_at`: since when all are
    right (monotonic seconds), None where some are not."""

    def __init__(self, swarm: Swarm) -> None:
        self._wrong = {
            user.number: set(swarm.graph.friends_of(user.number))
            for user in swarm.users
        }
        self._seen: dict[tuple[int, int], int] = {}
        self._wrong_clients = len(self._wrong)
        self._by_id = {user_id(user.number): user.number for user in swarm.users}
        self.right_at: float | None = None
        swarm.on_change = self._on_change
        swarm.on_snapshot = self._on_snapshot

    @property
    def wrong_clients(self) -> int:
        """Clients whose map is not right."""
        return self._wrong_clients

    def _on_snapshot(self, by: int, statuses: dict[str, dict[str, Any]]) -> None:
        for identifier, status in statuses.items():
            self._note(
                by, self._by_id[identifier], status["status"], status["timestamp"]
            )
        self._count()

    def _on_change(self, by: int, subject: int, status: str, timestamp: int) -> None:
        self._note(by, subject, status, timestamp)
        self._count()

    def _note(self, by: int, subject: int, status: str, timestamp: int) -> None:
        if timestamp < self._seen.get((by, subject), 0):
            return
        self._seen[by, subject] = timestamp
        wrong = self._wrong[by]
        was_right = not wrong
        if status == "online":
            wrong.discard(subject)
        else:
            wrong.add(subject)
        self._wrong_clients += was_right - (not wrong)

    def _count(self) -> None:
        if self._wrong_clients:
            self.right_at = None
        elif self.right_at is None:
            self.right_at = time.monotonic()


async def storm(swarm: Swarm, mark: Marks) -> dict[str, Any]:
    """Connect all, cut all, and wait until every map is right again."""
    await swarm.connect_all(swarm.users)
    await asyncio.sleep(5)
    await mark("before")
    errors: Counter[str] = Counter()
    maps = Maps(swarm)
    cut_at = time.monotonic()
    for user in swarm.users:
        swarm.cut(user)
    tasks = [asyncio.create_task(_return(swarm, user, errors)) for user in swarm.users]
    everybody_at = 0.0
    while time.monotonic() - cut_at < LONGEST:
        await asyncio.sleep(0.05)
        if not everybody_at and all(task.done() for task in tasks):
            everybody_at = time.monotonic()
        right_at = maps.right_at
        if right_at is not None and time.monotonic() - right_at > STAYS_RIGHT:
            break
    for task in tasks:
        task.cancel()
    await mark("after")
    return {
        "clients": len(swarm.users),
        "connected_s": everybody_at - cut_at if everybody_at else None,
        "right_s": maps.right_at - cut_at if maps.right_at is not None else None,
        "wrong_clients": maps.wrong_clients,
        "failed_attempts": errors.total(),
        "errors": dict(errors.most_common(5)),
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("before", "after"),
    }


async def _return(swarm: Swarm, user: User, errors: Counter[str]) -> None:
    delay = FIRST_RETRY
    while True:
        try:
            await swarm.connect(user)
        except Failed as error:
            errors[str(error)] += 1
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
            delay = min(2 * delay, LONGEST_RETRY)
        else:
            return
