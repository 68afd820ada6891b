"""Carries out the faults of a schedule on the running system."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.proxy import Proxy, Side
from tests.chaos.schedule import GATEWAYS, WORKERS, Fault, parts_of
from tests.chaos.stage import Stage, Valkey
from tests.system import wait_until

PATIENCE = 60.0
"""Seconds for a process to start, on a busy machine."""
LONGEST_DELAY = 0.4


@dataclass
class Injected:
    """A fault that was carried out. Seconds since the epoch."""

    fault: Fault
    began: float
    ended: float | None = None
    """When all was back: processes started, lines healed."""


class Injector:
    """Hurts one system. `injected` is what it did so far."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.injected: list[Injected] = []

    async def run_round(self, faults: Iterable[Fault]) -> None:
        """Carry out the faults of one round, each at its time. Returns when the last
        has ended and all is back."""
        await asyncio.to_thread(self._stage.server.keep)
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._at_its_time(fault))

    async def _at_its_time(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        async with AsyncExitStack() as stack:
            # What is still starting must not be started once more.
            for part in parts_of(fault.target):
                await stack.enter_async_context(self._locks[part])
            injected = Injected(fault, time.time())
            self.injected.append(injected)
            await self.inject(fault)
            injected.ended = time.time()

    async def inject(self, fault: Fault) -> None:
        """Carry out one fault now, to its end."""
        target = fault.target
        if fault.kind.name == "read-only":
            await asyncio.to_thread(self._stage.make_read_only, on=True)
            await asyncio.sleep(fault.lasts)
            await asyncio.to_thread(self._stage.make_read_only, on=False)
        elif target in self._stage.lines:
            await self._on_line(self._stage.lines[target], fault)
        elif target == "valkey":
            await self._on_valkey(fault)
        elif target == "gateways":
            for name in GATEWAYS:
                await self.restart(name)
        else:
            await self._on_process(fault)

    async def _on_line(self, line: Proxy, fault: Fault) -> None:
        chance = random.Random(fault.seed)  # noqa: S311 - to be repeated, not secret
        match fault.kind.name:
            case "delay":
                line.delay(chance.uniform(0.05, LONGEST_DELAY))
            case "stall":
                line.stall()
            case "cut":
                line.cut()
            case "half-open":
                sides: list[Side] = ["client", "server"]
                line.half_open(chance.choice(sides))
        await asyncio.sleep(fault.lasts)
        line.heal()

    async def _on_valkey(self, fault: Fault) -> None:
        server = self._stage.server
        match fault.kind.name:
            case "restart empty" | "restart from an old snapshot":
                server.kill()
                await asyncio.sleep(fault.lasts)
                from_kept = fault.kind.name != "restart empty"
                await asyncio.to_thread(server.restart, from_kept=from_kept)
            case "stop" | "long stop":
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts)
                server.signal(signal.SIGCONT)
            case "full" | "long full":
                await asyncio.to_thread(server.bound_memory, 1)
                await asyncio.sleep(fault.lasts)
                await asyncio.to_thread(server.bound_memory, 0)
            case "replica" | "long replica":
                await self._as_replica(server, fault.lasts)
            case "replica without its primary":
                await self._as_replica(server, fault.lasts, serves="no")
            case "rights taken":
                await asyncio.to_thread(server.take_rights)
                await asyncio.sleep(fault.lasts)
                await asyncio.to_thread(server.give_rights)
            case "keys deleted":
                await asyncio.to_thread(server.delete_keys, fault.seed)
            case "flush all":
                await asyncio.to_thread(server.flush)
            case "kill every connection":
                await asyncio.to_thread(server.kill_connections)

    async def _as_replica(
        self, server: Valkey, seconds: float, serves: str = "yes"
    ) -> None:
        """As a managed Redis that fails over, and is primary again afterwards."""
        await asyncio.to_thread(server.follow, nobody=False, serves=serves)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.follow, nobody=True)

    async def _on_process(self, fault: Fault) -> None:
        process = self._stage.processes[fault.target]
        match fault.kind.name:
            case "kill":
                await asyncio.to_thread(process.kill)
                await asyncio.sleep(fault.lasts)
                await self._start(fault.target)
            case "stop" | "long stop":
                process.signal_group(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts)
                process.signal_group(signal.SIGCONT)
            case "planned restart":
                await self.restart(fault.target)
            case "second one":
                second = self._stage.start_process("beat1")
                await asyncio.sleep(fault.lasts)
                await asyncio.to_thread(second.kill)

    async def restart(self, name: str) -> None:
        """Stop a process as a platform does, start it again, and wait until it is
        ready."""
        process = self._stage.processes[name]
        await asyncio.to_thread(process.stop, PATIENCE)
        await self._start(name)

    async def _start(self, name: str) -> None:
        log = self._stage.folder / f"{name}.log"
        if name in WORKERS:
            was_ready = _times_ready(log)
            self._stage.start_process(name)
            await _until(lambda: _times_ready(log) > was_ready)
        elif name in GATEWAYS:
            number = GATEWAYS.index(name)
            self._stage.start_web(number)
            await asyncio.to_thread(self._stage.wait_ready, number)
        else:
            began = time.time()
            self._stage.start_process(name)
            await _until(lambda: self._stage.server.last_sweep() > began)


def _times_ready(log: Path) -> int:
    return log.read_text(errors="replace").count(" ready.")


async def _until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, PATIENCE, 0.1)
