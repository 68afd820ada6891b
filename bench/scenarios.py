"""The scenarios: which servers, which graph, which load, which figures.

Each takes a kind of server and a `Scale`, and gives its rows. Every case starts its
server anew; the same generator puts the same load on each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench.attackers import KINDS
from bench.generator import Run, run_load
from bench.graph import Graph
from bench.greendot import SERVICE_KEY, closes_of
from bench.report import Column, Row
from bench.servers import Target

KB = 1024
MB = 1024 * KB
TargetKind = Callable[[Graph], Target]

TARGET = Column("target", "server")
CASE = Column("case", "case")
DROPPED = Column("dropped", "dropped")
GENERATOR = Column("generator", "generator CPU", digits=2)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much load; `QUICK` only proves that the harness works."""

    settle_seconds: float = 10.0
    """Before the memory of a server without connections is measured. In this time all
    of its regular tasks run for the first time."""
    crowds: tuple[int, ...] = (2_000, 10_000)
    idle_seconds: float = 40.0
    audiences: tuple[int, ...] = (20, 100, 500)
    latency_seconds: float = 16.0
    churn_users: int = 2_000
    friends: int = 50
    windows: tuple[int, ...] = (8, 32, 128)
    churn_seconds: float = 10.0
    hydrate_seconds: float = 10.0
    hostile_seconds: float = 30.0
    stored_users: int = 1_000_000
    due: tuple[int, ...] = (0, 1_000, 100_000)
    synced_users: int = 20_000
    many: int = 100_000
    many_seconds: float = 60.0
    crowd: int = 100_000
    crowd_seconds: float = 60.0
    goodbye: Literal["leave", "close"] = "leave"
    closing_windows: tuple[int, ...] = (128, 512)
    loaded_users: int = 2_000
    loaded: tuple[int, ...] = (5_000, 15_000)
    loaded_seconds: float = 15.0


FULL = Scale()
QUICK = Scale(
    settle_seconds=1.0,
    crowds=(200,),
    idle_seconds=5.0,
    audiences=(20,),
    latency_seconds=4.0,
    churn_users=200,
    friends=20,
    windows=(4, 16),
    churn_seconds=4.0,
    hydrate_seconds=3.0,
    hostile_seconds=4.0,
    stored_users=20_000,
    due=(0, 1_000, 5_000),
    synced_users=500,
    many=600,
    many_seconds=5.0,
    crowd=1_500,
    crowd_seconds=8.0,
    closing_windows=(16,),
    loaded_users=200,
    loaded=(1_000,),
    loaded_seconds=4.0,
)

IDLE = (
    TARGET,
    CASE,
    Column("kb", "KB per connection", "less"),
    Column("valkey_kb", "of which Valkey's", "less", 2),
    Column("memory_mb", "MB in all", "less"),
    Column("cpu_percent", "% of a core per 1,000", "less", 2),
    Column("handshakes_per_s", "handshakes/s", "more", 0),
    DROPPED,
    GENERATOR,
)


def idle(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """Connections that do nothing but stay. Users have two friends each, so that no
    server takes a path that it has for those without."""
    for size in scale.crowds:
        with kind(Graph.ring(size, 2)) as target:
            time.sleep(scale.settle_seconds)
            run = run_load(target, "idle", seconds=scale.idle_seconds)
            empty, end = run.samples["empty"], run.samples["end"]
            # Those that are still there; of none at all nothing can be said.
            held = run.result["connections"] or math.nan
            cpu = run.cpu("start", "end") / scale.idle_seconds / held * 1000
            yield {
                "target": target.name,
                "case": f"{size:,} connections",
                "kb": (end.memory - empty.memory) / held / KB,
                "valkey_kb": (
                    end.memory_by_part["valkey"] - empty.memory_by_part["valkey"]
                )
                / held
                / KB,
                "empty_mb": empty.memory / MB,
                "memory_mb": end.memory / MB,
                "cpu_percent": cpu * 100,
                "cpu_by_part": run.cpu_by_part("start", "end"),
                "generator": run.result["generator_share"],
                **run.result,
            }


LATENCY = (
    TARGET,
    CASE,
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("max_ms", "max ms"),
    Column("missing", "missing"),
    DROPPED,
    GENERATOR,
)


def latency(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """One user connects and leaves, on a system that does nothing else."""
    for size in scale.audiences:
        with kind(Graph.star(size)) as target:
            run = run_load(target, "latency", seconds=scale.latency_seconds, rate=5)
            yield {
                "target": target.name,
                "case": f"F = {size}",
                "generator": run.result["generator_share"],
                "cpu_by_part": run.cpu_by_part("start", "end"),
                **run.result,
            }


THROUGHPUT = (
    TARGET,
    CASE,
    Column("delivered_per_s", "delivered/s", "more", 0),
    Column("changes_per_s", "changes/s", "more", 0),
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("cpu_per_1000", "CPU s per 1,000", "less", 4),
    Column("lost", "lost"),
    DROPPED,
    GENERATOR,
)


def throughput(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """Users come and go, as many as the server holds, `window` at a time. Where they
    close their tabs instead of leaving, each waits for the grace to end, so more of
    them must be on the way for the same load."""
    closes = scale.goodbye == "close"
    with kind(Graph.ring(scale.churn_users, scale.friends)) as target:
        run = run_load(
            target,
            "throughput",
            windows=scale.closing_windows if closes else scale.windows,
            seconds=scale.churn_seconds,
            warm_up=target.grace + 3 if closes else 3,
            close_grace=target.grace if closes else None,
        )
        yield from map(dict, _churn_rows(target, run))


def _churn_rows(target: Target, run: Run) -> Iterator[Row]:
    for row in run.result["rows"]:
        start, end = f"start {row['window']}", f"end {row['window']}"
        seconds = run.samples[end].at - run.samples[start].at
        yield {
            "target": target.name,
            "case": f"{row['window']} at a time",
            # More was delivered between the samples than was counted, by their margin.
            "cpu_per_1000": run.cpu(start, end)
            / seconds
            / (row["delivered_per_s"] or math.nan)
            * 1000,
            "cpu_by_part": run.cpu_by_part(start, end),
            "generator": row["generator_share"],
            **row,
        }


LOADED = (
    TARGET,
    CASE,
    Column("delivered_per_s", "delivered/s", digits=0),
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("max_ms", "max ms"),
    Column("cpu_share", "server CPU", digits=2),
    Column("skipped", "skipped"),
    Column("lost", "lost"),
    DROPPED,
    GENERATOR,
)


def loaded(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """Changes at a fixed rate, below what the servers can do: how long a notification
    takes while others are on their way."""
    for rate in scale.loaded:
        with kind(Graph.ring(scale.loaded_users, scale.friends)) as target:
            run = run_load(
                target,
                "steady",
                changes_per_s=rate / scale.friends,
                seconds=scale.loaded_seconds,
                warm_up=3,
            )
            start, end = run.samples["start"], run.samples["end"]
            yield {
                "target": target.name,
                "case": f"{rate:,} a second",
                "cpu_share": run.cpu("start", "end") / (end.at - start.at),
                "cpu_by_part": run.cpu_by_part("start", "end"),
                "generator": run.result["generator_share"],
                **run.result,
            }


STORM = (
    TARGET,
    CASE,
    Column("right_s", "all maps right after s", "less"),
    Column("connected_s", "all connected after s", "less"),
    Column("failed_attempts", "failed attempts"),
    Column("wrong_clients", "wrong in the end"),
    Column("peak_mb", "peak MB", "less"),
    DROPPED,
    GENERATOR,
)


def storm(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """All are cut and come back at once."""
    for size in scale.crowds:
        with kind(Graph.ring(size, scale.friends)) as target:
            run = run_load(target, "storm", limit=400, watch_memory=True)
            yield {
                "target": target.name,
                "case": f"{size:,} clients",
                "peak_mb": run.peak_memory / MB,
                "generator": run.result["generator_share"],
                "cpu_by_part": run.cpu_by_part("before", "after"),
                **run.result,
            }


HYDRATE = (
    TARGET,
    CASE,
    Column("p50_ms", "p50 ms", "less", 2),
    Column("p99_ms", "p99 ms", "less", 2),
    Column("requests_per_s", "requests/s", "more", 0),
    Column("p99_busy_ms", "p99 ms at that rate", "less"),
    DROPPED,
    GENERATOR,
)
HYDRATED_FRIENDS = 500
HYDRATED_USERS = 1_000
AT_ONCE = 16


def hydrate(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """The first status map of an application that loads: of one user who asks again
    and again, then of as many users as ask at a time."""
    for askers, case in ((1, "of one user"), (AT_ONCE, f"of {AT_ONCE} users")):
        with kind(Graph.ring(HYDRATED_USERS, HYDRATED_FRIENDS)) as target:
            run = run_load(
                target,
                "hydrate",
                path=target.hydrate_path,
                seconds=scale.hydrate_seconds,
                at_once=AT_ONCE,
                askers=askers,
            )
            yield {
                "target": target.name,
                "case": case,
                "generator": run.result["generator_share"],
                "cpu_by_part": run.cpu_by_part("start", "end"),
                **run.result,
            }


HOSTILE = (
    TARGET,
    CASE,
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("max_ms", "max ms"),
    Column("missing", "missing"),
    Column("cpu_share", "server CPU", digits=2),
    Column("growth_mb", "MB more, at most"),
    Column("closes", "closed meanwhile"),
    DROPPED,
    GENERATOR,
)
NEAR, FAR = 20, 2_000
"""Friends of the user who is measured, and of the one who gets large snapshots."""


def hostile(kind: TargetKind, scale: Scale) -> Iterator[Row]:
    """As `latency`, while somebody else behaves badly."""
    for attackers in KINDS:
        with kind(Graph.two_stars(NEAR, FAR)) as target:
            run = run_load(
                target,
                "hostile",
                watch_memory=True,
                kind=attackers,
                service_key=SERVICE_KEY,
                seconds=scale.hostile_seconds,
                rate=5,
            )
            start, end = run.samples["start"], run.samples["end"]
            yield {
                "target": target.name,
                "case": attackers,
                "cpu_share": run.cpu("start", "end") / (end.at - start.at),
                "growth_mb": (run.peak_memory - run.samples["before"].memory) / MB,
                "closes": closes_of(target),
                "generator": run.result["generator_share"],
                "cpu_by_part": run.cpu_by_part("start", "end"),
                **run.result,
            }


Scenario = Callable[[TargetKind, Scale], Iterator[Row]]

SCENARIOS: dict[str, tuple[Scenario, tuple[Column, ...]]] = {
    "idle": (idle, IDLE),
    "latency": (latency, LATENCY),
    "throughput": (throughput, THROUGHPUT),
    "loaded": (loaded, LOADED),
    "storm": (storm, STORM),
    "hydrate": (hydrate, HYDRATE),
    "hostile": (hostile, HOSTILE),
}
