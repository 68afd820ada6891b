"""The scenario `many`: more connections than one process can hold.

Several gateways share the clients, and so do several generators: a process may have
20,000 open files, and an address some 28,000 ports. All clients send heartbeats at the
real interval. A few users leave and come back meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from bench.generator import held, run_load
from bench.graph import Graph
from bench.greendot import Greendot
from bench.report import Column, Row
from bench.scenarios import KB, MB, Scale

PER_GATEWAY = 12_000
"""Connections planned per gateway. It is below the limit, because the idle gateway
takes the next client and shares are unequal."""
TOGGLING = 2_000
"""Users of the generator that makes the changes."""
CHANGES_PER_S = 20
FRIENDS = 2

MANY = (
    Column("case", "case"),
    Column("gateways", "gateways"),
    Column("kb", "KB per connection, without Valkey", "less"),
    Column("valkey_kb", "Valkey KB per connection", "less", 2),
    Column("web_cpu", "gateways, % of a core", digits=0),
    Column("worker_cpu", "worker and beat, % of a core"),
    Column("valkey_cpu", "Valkey, % of a core"),
    Column("p50_ms", "p50 ms", "less"),
    Column("p99_ms", "p99 ms", "less"),
    Column("max_ms", "max ms"),
    Column("skipped", "skipped"),
    Column("lost", "lost"),
    Column("dropped", "dropped"),
)


class ManyGateways(Greendot):
    """Greendot with as many gateways as the connections need."""

    def __init__(self, connections: int, graph: Graph) -> None:
        super().__init__(graph)
        self.gateways = math.ceil(connections / PER_GATEWAY)
        self.more_environ = {"WEB_CONCURRENCY": str(self.gateways)}


def many(scale: Scale) -> Iterator[Row]:
    """Connect all, then measure while a few of them come and go."""
    size = scale.many
    with ManyGateways(size, Graph.ring(size, FRIENDS)) as target:
        time.sleep(scale.settle_seconds)
        empty = target.sample()
        toggling = range(min(TOGGLING, size))
        with held(target, range(toggling.stop, size)) as others:
            run = run_load(
                target,
                "steady",
                part=toggling,
                changes_per_s=CHANGES_PER_S,
                seconds=scale.many_seconds,
                warm_up=5,
            )
        start, end = run.samples["start"], run.samples["end"]
        seconds = end.at - start.at
        cpu = run.cpu_by_part("start", "end")
        grown = {
            name: used - empty.memory_by_part[name]
            for name, used in end.memory_by_part.items()
        }
        valkey = grown.pop("valkey")
        yield {
            **run.result,
            "case": f"{size:,} connections",
            "connections": run.result["connections"] + others.connections,
            "gateways": target.gateways,
            "kb": sum(grown.values()) / size / KB,
            "valkey_kb": valkey / size / KB,
            "memory_mb": {
                name: round(used / MB) for name, used in end.memory_by_part.items()
            },
            "web_cpu": cpu["web"] / seconds * 100,
            "worker_cpu": (cpu["worker"] + cpu["beat"]) / seconds * 100,
            "valkey_cpu": cpu["valkey"] / seconds * 100,
            "dropped": run.result["dropped"] + others.dropped,
        }
