"""The moments at which a scenario measures the servers, on the generator's side."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from bench.measure import cpu_seconds


class Marks:
    """The generator's side of the marks."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[float, float]] = {}

    async def __call__(self, name: str) -> None:
        """Have the servers measured now."""
        self._taken[name] = (time.monotonic(), cpu_seconds(os.getpid()))
        print(json.dumps({"mark": name}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    def seconds(self, start: str, end: str) -> float:
        """Seconds between two marks."""
        return self._taken[end][0] - self._taken[start][0]

    def cpu_share(self, start: str, end: str) -> float:
        """The share of a core of this process and those it has started, between two
        marks."""
        used = self._taken[end][1] - self._taken[start][1]
        return used / self.seconds(start, end)
