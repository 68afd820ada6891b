"""The scenario `crowd`: how changes with a very large audience delay others.

A user with a large audience connects or leaves every five seconds. Beside that, a user
with few friends is timed as in `latency`. For the large changes, `crowd_ms` is the time
until all of the observed users of the audience know. All users of the large audience
are connected, to several gateways and from several generators, as in `many`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Any

from bench.generator import held, run_load
from bench.graph import Graph
from bench.many import ManyGateways
from bench.marks import Marks
from bench.report import Column, Row
from bench.scenarios import Scale
from bench.swarm import Swarm
from bench.toggling import toggle

NEAR = 20
"""Friends of the user who is timed."""
WATCHED = 1_000
"""Users of the large audience that the timing generator connects. Only these are
observed."""
EVERY = 5.0
"""Seconds between two changes that the crowd hears of. To write to 100,000 sockets
takes a core for more than a second."""

CROWD = (
    Column("case", "audience beside it"),
    Column("gateways", "gateways"),
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("max_ms", "max ms"),
    Column("missing", "missing"),
    Column("crowd_ms", f"{WATCHED:,} of the crowd know after ms, p50", digits=0),
    Column("crowd_missing", "of it missing"),
    Column("dropped", "dropped"),
)


async def crowd(
    swarm: Swarm, mark: Marks, *, seconds: float, rate: float, with_crowd: bool
) -> dict[str, Any]:
    """User 0 connects and leaves in turn, and is timed. If `with_crowd`, the user whom
    the crowd knows does the same every five seconds."""
    timed_user, *held_users = swarm.users
    friends, crowd_user = held_users[:NEAR], held_users[NEAR]
    watched = held_users[NEAR + 1 :]
    await swarm.connect_all([*friends, *watched])
    told: list[float] = []
    missing = 0
    awaited: set[int] = set()
    begun_at = time.perf_counter()

    async def come_and_go() -> None:
        nonlocal awaited, begun_at, missing
        while True:
            begun_at = time.perf_counter()
            awaited = {user.number for user in watched}
            if crowd_user.ready:
                swarm.leave(crowd_user)
            else:
                await swarm.connect(crowd_user)
            await asyncio.sleep(max(0, begun_at + EVERY - time.perf_counter()))
            missing += len(awaited)

    measure = toggle(swarm, mark, timed_user, friends, seconds=seconds, rate=rate)
    if not with_crowd:
        return {**await measure, "crowd_ms": math.nan, "crowd_missing": 0}
    timing = asyncio.create_task(measure)
    await asyncio.sleep(0)
    timed = swarm.on_change

    def on_change(by: int, subject: int, status: str, timestamp: int) -> None:
        if subject != crowd_user.number:
            assert timed is not None  # noqa: S101 - `toggle` has set it
            timed(by, subject, status, timestamp)
        elif by in awaited:
            awaited.remove(by)
            if not awaited:
                told.append(time.perf_counter() - begun_at)

    swarm.on_change = on_change
    going = asyncio.create_task(come_and_go())
    result = await timing
    going.cancel()
    told.sort()
    return {
        **result,
        "crowd_ms": told[len(told) // 2] * 1000 if told else math.nan,
        "crowd_missing": missing,
    }


def run_crowd(scale: Scale) -> Iterator[Row]:
    """The same system, first without the large changes."""
    size = scale.crowd
    first = NEAR + 2 + min(WATCHED, size)
    for with_crowd in (False, True):
        target = ManyGateways(size, Graph.two_stars(NEAR, size))
        with target, held(target, range(first, target.graph.users)) as others:
            run = run_load(
                target,
                "crowd",
                part=range(first),
                seconds=scale.crowd_seconds,
                rate=5,
                with_crowd=with_crowd,
            )
        yield {
            **run.result,
            "case": f"{size:,}" if with_crowd else "nobody",
            "gateways": target.gateways,
            "cpu_by_part": run.cpu_by_part("start", "end"),
            "dropped": run.result["dropped"] + others.dropped,
        }
