"""The scenario `sync`: `flask sync --from-csv` beside live sockets, and how long their
heartbeats wait meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.generator import run_load
from bench.graph import Graph, user_id
from bench.greendot import Greendot
from bench.machine import all_cores
from bench.report import Column, Row
from bench.scenarios import Scale

FRIENDS = 10
LIVE = 200
"""Users who are online, and in the graph from the beginning."""

SYNC = (
    Column("case", "case"),
    Column("rows", "rows", digits=0),
    Column("seconds", "s", "less"),
    Column("acks", "acks", digits=0),
    Column("p50_ms", "ack p50 ms", "less"),
    Column("p99_ms", "ack p99 ms", "less"),
    Column("max_ms", "ack max ms"),
    Column("web_cpu", "gateway CPU s"),
    Column("dropped", "dropped"),
)


def sync(scale: Scale) -> Iterator[Row]:
    """Files with new users and friendships; the same again; and files that lack every
    twentieth user."""
    graph = Graph.ring(scale.synced_users, FRIENDS)
    with Greendot(Graph.ring(LIVE, FRIENDS)) as target:
        folder = target.folder / "csv"
        for case, every in (("all is new", 0), ("the same again", 0), ("5 % less", 20)):
            rows = _write(folder, graph, every)
            command = [sys.executable, "-m", "flask", "--app", "wsgi", "sync"]
            run = run_load(
                target,
                "beats",
                command=[*command, "--from-csv", str(folder)],
                environ=target.environ,
                cores=all_cores(),
            )
            yield {
                "case": case,
                "rows": rows,
                "web_cpu": run.cpu_by_part("start", "end")["web"],
                **run.result,
            }


def _write(folder: Path, graph: Graph, every: int) -> int:
    """Write the files of `graph`, without every so-many-th user. Returns the number of
    rows."""
    folder.mkdir(exist_ok=True)

    def is_in(number: int) -> bool:
        return number < LIVE or not every or number % every != 0

    users = [number for number in range(graph.users) if is_in(number)]
    pairs = [pair for pair in graph.pairs() if all(map(is_in, pair))]
    with (folder / "users.csv").open("w", encoding="utf-8") as file:
        file.write("id,display_name\n")
        file.writelines(f"{user_id(one)},User {one}\n" for one in users)
    with (folder / "friendships.csv").open("w", encoding="utf-8") as file:
        file.write("user_a,user_b\n")
        file.writelines(f"{user_id(a)},{user_id(b)}\n" for a, b in pairs)
    return len(users) + len(pairs)
