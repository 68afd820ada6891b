"""The scenario `scaling`: what one change costs, as the system and its graph grow.

The load is that of `throughput`. Beside the CPU of each part it counts what the Valkey
does: so the cost of a change is known in terms that hold on other machines too. All
servers share a core, so it shows costs, not how much faster several cores are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from bench.generator import run_load
from bench.graph import Graph
from bench.greendot import Greendot
from bench.measure import Sample
from bench.report import Column, Row
from bench.scenarios import Scale

WINDOW = 32
KB = 1024

SCALING = (
    Column("case", "case"),
    Column("changes_per_s", "changes/s", digits=0),
    Column("delivered_per_s", "delivered/s", digits=0),
    Column("web_ms", "gateways, CPU ms per change", digits=2),
    Column("worker_ms", "workers, CPU ms per change", digits=2),
    Column("valkey_ms", "Valkey, CPU ms per change", digits=2),
    Column("commands", "Valkey commands per change"),
    Column("kb_in", "KB in per change", digits=2),
    Column("kb_out", "KB out per change", digits=2),
    Column("lost", "lost"),
    Column("dropped", "dropped"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A system, and its graph: `users` with `friends` each."""

    users: int = 2_000
    friends: int = 50
    gateways: int = 1
    workers: int = 1
    shards: int = 1

    def __str__(self) -> str:
        return (
            f"F = {self.friends:,}, {self.gateways} gateway, {self.workers} worker, "
            f"{self.shards} shard"
        )


FULL_CASES = (
    Case(friends=10),
    Case(),
    Case(friends=200),
    Case(gateways=2),
    Case(gateways=5),
    Case(gateways=12),
    Case(workers=2),
    Case(shards=3),
    Case(gateways=2, workers=2, shards=3),
    Case(users=1_200, friends=1_000),
)
QUICK_CASES = (Case(users=200, friends=10, gateways=2, shards=3),)


@dataclass(frozen=True, slots=True)
class Work:
    """What a Valkey has done since its start; commands of scripts are included."""

    commands: int
    bytes_in: int
    bytes_out: int

    def __sub__(self, earlier: Work) -> Work:
        return Work(
            self.commands - earlier.commands,
            self.bytes_in - earlier.bytes_in,
            self.bytes_out - earlier.bytes_out,
        )


class Scaled(Greendot):
    """Greendot with more than one of something, and its Valkey's work at each mark."""

    def __init__(self, case: Case) -> None:
        super().__init__(Graph.ring(case.users, case.friends))
        self.workers = case.workers
        self.more_environ = {
            "WEB_CONCURRENCY": str(case.gateways),
            "PRESENCE_SHARDS": str(case.shards),
        }
        self.work: list[Work] = []

    def sample(self) -> Sample:
        """As of any target; the Valkey's work is added to `work`."""
        with redis.Redis.from_url(self.redis_url) as client:
            counters = cast("dict[str, Any]", client.info("stats"))
            calls = cast("dict[str, Any]", client.info("commandstats"))
        self.work.append(
            Work(
                sum(each["calls"] for each in calls.values()),
                counters["total_net_input_bytes"],
                counters["total_net_output_bytes"],
            )
        )
        return super().sample()


def scaling(scale: Scale) -> Iterator[Row]:
    """One case after the other."""
    for case in QUICK_CASES if scale.churn_users < FULL_CASES[0].users else FULL_CASES:
        with Scaled(case) as target:
            run = run_load(
                target,
                "throughput",
                windows=[WINDOW],
                seconds=scale.churn_seconds,
                warm_up=3,
            )
            (found,) = run.result["rows"]
            start, end = f"start {WINDOW}", f"end {WINDOW}"
            marks = list(run.samples)
            work = target.work[marks.index(end)] - target.work[marks.index(start)]
            seconds = run.samples[end].at - run.samples[start].at
            changes = (found["changes_per_s"] or math.nan) * seconds
            cpu = run.cpu_by_part(start, end)
            workers = sum(used for name, used in cpu.items() if "worker" in name)
            yield {
                **found,
                "case": str(case),
                "web_ms": cpu["web"] / changes * 1000,
                "worker_ms": workers / changes * 1000,
                "valkey_ms": cpu["valkey"] / changes * 1000,
                "commands": work.commands / changes,
                "kb_in": work.bytes_in / changes / KB,
                "kb_out": work.bytes_out / changes / KB,
            }
