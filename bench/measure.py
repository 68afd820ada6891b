"""What servers cost: CPU seconds and memory of whole process trees."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

KB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """What has been used up to `at` (monotonic seconds): CPU seconds, in all and by the
    name of the part. Memory is in bytes, now (PSS where the system tells it)."""

    at: float
    cpu: float
    cpu_by_part: dict[str, float]
    memory_by_part: dict[str, int]

    @property
    def memory(self) -> int:
        """The memory of all parts."""
        return sum(self.memory_by_part.values())


def sample(parts: dict[str, int]) -> Sample:
    """Measure the process trees under `parts`: name -> pid of the first process."""
    trees = {name: _tree(pid) for name, pid in parts.items()}
    cpu = {name: _cpu_of(tree) for name, tree in trees.items()}
    memory = {
        name: sum(_memory(process.pid) for process in tree)
        for name, tree in trees.items()
    }
    return Sample(time.monotonic(), sum(cpu.values()), cpu, memory)


def cpu_seconds(pid: int) -> float:
    """What the process and all below it have used up to now."""
    return _cpu_of(_tree(pid))


def _cpu_of(tree: Iterable[psutil.Process]) -> float:
    return sum(map(_cpu_seconds, tree))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Children that have ended are counted with their parent.
    ended = getattr(times, "children_user", 0.0), getattr(times, "children_system", 0.0)
    return float(times.user + times.system + sum(ended))


def _memory(pid: int) -> int:
    """PSS: memory that processes share is counted once, not once for each."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KB
    return 0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of `ordered` (ascending) do not exceed; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def percentiles_ms(seconds: Iterable[float]) -> dict[str, float]:
    """p50, p99 and the greatest, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": percentile(ordered, 50) * 1000,
        "p99_ms": percentile(ordered, 99) * 1000,
        "max_ms": percentile(ordered, 100) * 1000,
    }
