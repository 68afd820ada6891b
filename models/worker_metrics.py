"""What workers count for /metrics, and the fields in which Redis keeps these numbers.

A worker serves no HTTP. So workers add their numbers to a hash in Redis
(`models.presence.worker_counts`), and a web process reads it during a scrape. All
numbers are whole numbers that only grow.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets for what usually takes milliseconds."""
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class WorkerCounter:
    """A counter with one label."""

    name: str
    text: str
    label: str

    def field(self, value: str) -> str:
        """The field that counts for this `value` of the label."""
        return f"{self.name}:{value}"


@dataclass(frozen=True, slots=True)
class WorkerHistogram:
    """How often values were up to each of the `bounds`. The sum of all values is kept
    in parts of 1 / `scale`. `label` is the name of a label, or empty."""

    name: str
    text: str
    bounds: tuple[float, ...]
    scale: int = MICRO
    label: str = ""

    def counted(self, value: float, of: str = "") -> Iterator[tuple[str, int]]:
        """What one `value` adds to which fields. `of` is the value of the label."""
        place = bisect_left(self.bounds, value)
        yield self._bucket_fields(of)[place], 1
        yield self._sum_field(of), round(value * self.scale)

    def fields(self, of: str = "") -> list[str]:
        """All fields for one value of the label."""
        return [*self._bucket_fields(of), self._sum_field(of)]

    def read(
        self, counts: Mapping[str, int], of: str = ""
    ) -> tuple[list[tuple[float, int]], float]:
        """The upper bounds with the number of values up to each, and the sum of all
        values."""
        buckets = []
        total = 0
        names = self._bucket_fields(of)
        for bound, name in zip((*self.bounds, math.inf), names, strict=True):
            total += counts.get(name, 0)
            buckets.append((bound, total))
        return buckets, counts.get(self._sum_field(of), 0) / self.scale

    def _bucket_fields(self, of: str) -> list[str]:
        return [f"{self.name}:{of}:{bound:g}" for bound in (*self.bounds, math.inf)]

    def _sum_field(self, of: str) -> str:
        return f"{self.name}:{of}:sum"


TRANSITIONS = WorkerCounter(
    "transitions", "Transitions that were broadcast, to whatever audience", "status"
)
STATUSES = ("online", "offline")
TASK_FAILURES = WorkerCounter("task_failures", "Tasks that failed", "task")
DATABASE_OUTAGES = WorkerCounter(
    "database_outages", "Tasks that could not use the database", "task"
)
FANOUT = WorkerHistogram("fanout_seconds", "Time of a fan-out batch", SECONDS)
AUDIENCE = WorkerHistogram(
    "audience_size",
    "Users who may hear of one change, whether or not they are connected",
    (1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000),
    scale=1,
)
WEBHOOKS = WorkerHistogram(
    "webhook_seconds",
    "Time of a request to a webhook receiver",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
TASKS = WorkerHistogram(
    "task_seconds",
    "Time of a task",
    (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
    label="task",
)
