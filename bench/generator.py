"""The generator: a process of its own that puts a load on a server.

`Generator` is how a scenario runs one; `python -m bench.generator` is the process. It
reads a plan from stdin, runs the load, and prints lines of JSON. A mark is printed at
each moment at which the scenario is to measure the servers; the generator waits for the
answer. The result tells the generator's own CPU share between two marks.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench.graph import Graph
from bench.machine import cores_for_generator, pinned, raise_file_limit
from bench.measure import Sample
from bench.profiles import Profile
from bench.servers import SECRET, Target
from config import PROJECT_ROOT

PER_GENERATOR = 15_000
"""Users of one generator: a process may have 20,000 open files."""
ADDRESSES = 8
"""From how many addresses the clients of a generator connect, where there are several
generators."""
TICK = 0.25
"""Seconds between two samples of memory, where a scenario wants its peak."""
PROFILED = ("start", "before", "empty")
"""How marks begin after which a profile is worth having."""


class GeneratorFailed(Exception):
    """The generator ended without a result; it has said why on stderr."""


@dataclass(slots=True)
class Run:
    """What a load found, and the samples of the servers taken at its marks."""

    result: dict[str, Any]
    samples: dict[str, Sample]
    peak_memory: int

    def cpu(self, start: str, end: str) -> float:
        """CPU seconds that the servers used between two marks."""
        return self.samples[end].cpu - self.samples[start].cpu

    def cpu_by_part(self, start: str, end: str) -> dict[str, float]:
        """The same, by part of the system."""
        before, after = self.samples[start].cpu_by_part, self.samples[end].cpu_by_part
        return {name: round(after[name] - before[name], 2) for name in after}


def run_load(
    target: Target,
    load: str,
    limit: float = 300,
    *,
    part: range | None = None,
    watch_memory: bool = False,
    **arguments: object,
) -> Run:
    """Run `load` (a name in `bench.loads.LOADS`) against `target`. If `part` is given,
    the generator has only the users with these numbers.

    Raises:
        GeneratorFailed: it failed, or took more than `limit` seconds.
    """
    plan = _plan(target, load, part, arguments)
    process = _start()
    try:
        deadline = time.monotonic() + limit
        return _follow(process, plan, target, deadline, watch_memory=watch_memory)
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True)
class Others:
    """What other generators have found, once they have ended."""

    connections: int = 0
    dropped: int = 0


@contextmanager
def held(target: Target, users: range) -> Iterator[Others]:
    """Inside, the users with these numbers are connected and send heartbeats. Each
    PER_GENERATOR of them have a generator and addresses of their own.

    Raises:
        GeneratorFailed: one of the generators failed.
    """
    others = Others()
    processes = []
    try:
        for number, first in enumerate(users[::PER_GENERATOR]):
            part = range(first, min(first + PER_GENERATOR, users.stop))
            processes.append(process := _start())
            # A closed connection keeps its port for a minute, so one is not enough.
            sources = [f"127.0.{number + 1}.{last}" for last in range(1, ADDRESSES + 1)]
            plan = _plan(target, "hold", part, {}, sources)
            _tell(process, json.dumps(plan))
            _hear(process, target)
        yield others
        for process in processes:
            _tell(process, "")
            result = _hear(process, target)["result"]
            others.connections += result["connections"]
            others.dropped += result["dropped"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _plan(
    target: Target,
    load: str,
    part: range | None,
    arguments: Mapping[str, object],
    sources: Sequence[str] = (),
) -> dict[str, object]:
    return {
        "load": load,
        "protocol": target.protocol,
        "address": f"127.0.0.1:{target.port}",
        "secret": SECRET,
        "graph": asdict(target.graph),
        "part": part and [part.start, part.stop],
        "sources": sources,
        "arguments": arguments,
    }


def _start() -> subprocess.Popen[str]:
    with pinned(cores_for_generator()):
        return subprocess.Popen(
            [sys.executable, "-m", "bench.generator"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    process.stdin.write(f"{line}\n")


def _hear(process: subprocess.Popen[str], target: Target) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - for the type checker
    line = process.stdout.readline()
    if not line:
        message = f"a generator against {target.name} ended without a word"
        raise GeneratorFailed(message)
    return dict(json.loads(line))


def _follow(
    process: subprocess.Popen[str],
    plan: dict[str, object],
    target: Target,
    deadline: float,
    *,
    watch_memory: bool,
) -> Run:
    assert process.stdout is not None  # noqa: S101 - for the type checker
    _tell(process, json.dumps(plan))
    samples: dict[str, Sample] = {}
    peak = 0
    profile = None
    while time.monotonic() < deadline:
        if not select.select([process.stdout], [], [], TICK)[0]:
            if watch_memory and samples:
                peak = max(peak, target.sample().memory)
            continue
        line = process.stdout.readline()
        if not line:
            break
        message = json.loads(line)
        if "result" in message:
            if profile is not None:
                profile.finish()
            return Run(message["result"], samples, peak)
        now = target.sample()
        samples[message["mark"]] = now
        peak = max(peak, now.memory)
        wanted = target.profile_seconds and message["mark"].startswith(PROFILED)
        if wanted and profile is None:
            profile = Profile(target, target.profile_seconds)
        _tell(process, "")
    message = f"the generator of `{plan['load']}` against {target.name} gave no result"
    raise GeneratorFailed(message)


async def _main() -> None:
    # Here, not above: the scenarios' process needs neither picows nor uvloop.
    from bench.loads import LOADS  # noqa: PLC0415
    from bench.marks import Marks  # noqa: PLC0415
    from bench.swarm import Swarm  # noqa: PLC0415

    raise_file_limit()
    plan = json.loads(sys.stdin.readline())
    graph = Graph(**plan["graph"])
    part = range(*plan["part"]) if plan["part"] else None
    swarm = Swarm(
        graph, plan["protocol"], plan["address"], plan["secret"], part, plan["sources"]
    )
    result = await LOADS[plan["load"]](swarm, Marks(), **plan["arguments"])
    swarm.close()
    print(json.dumps({"result": result}), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main())
