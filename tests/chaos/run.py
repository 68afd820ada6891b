"""One run: rounds of faults under churn, each followed by quiet, in which all has to
become right."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import redis

from tests.chaos import truth
from tests.chaos.device import MAX_BACKOFF
from tests.chaos.faults import Injector
from tests.chaos.graph import Graph, random_graph
from tests.chaos.judgement import is_calm, judge
from tests.chaos.report import Report
from tests.chaos.schedule import Fault
from tests.chaos.stage import GRACE, HOLD, SWEEP, TTL, Stage
from tests.chaos.swarm import Swarm
from tests.chaos.witness import Witness

log = logging.getLogger(__name__)

DEVICES = 200
USERS_PER_DEVICE = 0.6
CALM_SECONDS = 12.0
"""Seconds of churn without any fault, before the first round."""
BOUND = TTL + GRACE + SWEEP + HOLD + MAX_BACKOFF
"""Within that many seconds after the last fault all must be right: what the server
promises, and what a client may wait before it comes back."""
HOST_BOUND = 90.0
"""The same for the host, in seconds. A sender of webhooks that was killed keeps its
lease for 20 s, and the next attempts after failures are up to half a minute apart."""
LOOK_EVERY = 0.25
STAYS_RIGHT = 0.75
"""What has become right must still be so that much later."""


class Run:
    """A run on a stage that is up."""

    def __init__(self, stage: Stage, seed: int, devices: int = DEVICES) -> None:
        users = int(devices * USERS_PER_DEVICE)
        graph = random_graph(seed, users)
        self._stage = stage
        self._graph: Graph = graph
        self._relevant: Mapping[str, frozenset[str]] = graph.relevant()
        self.witness = Witness(stage.server.port)
        self.injector = Injector(stage)
        self.swarm = Swarm(stage, graph, self.witness, size=devices, seed=seed)
        self.report = Report(seed, devices, users, logs=str(stage.folder))

    async def go(self, rounds: Sequence[Sequence[Fault]]) -> Report:
        """Do the rounds. The report has what was found, failures included."""
        async with self.running():
            await self.calm(CALM_SECONDS)
            for number, faults in enumerate(rounds, 1):
                await self.round(f"round {number}", faults)
            await self.ask_host()
        return self.report

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Devices come and go meanwhile; afterwards the report is complete."""
        began = time.monotonic()
        await asyncio.to_thread(self._graph.load, self._stage)
        watching = asyncio.create_task(self.witness.run())
        self.swarm.start()
        try:
            yield
        finally:
            await self.swarm.stop()
            watching.cancel()
        self.report.seconds = time.monotonic() - began
        self._sum_up()

    async def calm(self, seconds: float) -> None:
        """No faults for a while, and then all must be right."""
        await asyncio.sleep(seconds)
        await self.converge("calm")

    async def round(self, name: str, faults: Sequence[Fault]) -> None:
        """Carry out the faults, and then all must become right."""
        self.swarm.go_on()
        log.info(
            "%s: %s", name, "; ".join(f"{one.at:.1f} {one.name}" for one in faults)
        )
        await self.injector.run_round(faults)
        await self.converge(name)

    async def converge(self, name: str) -> None:
        """Let nobody come or go, and wait until all is right."""
        self.swarm.hold()
        began = time.monotonic()
        right_since: float | None = None
        while True:
            problems = await self.problems()
            now = time.monotonic()
            if problems and now > began + BOUND:
                log.error("%s: wrong: %s", name, "\n".join(problems))
                self.report.wrong[name] = problems
                return
            if problems:
                right_since = None
            elif right_since is None:
                right_since = now
            elif now > right_since + STAYS_RIGHT:
                break
            await asyncio.sleep(LOOK_EVERY)
        took = right_since - began
        log.info("%s: right after %.2f s", name, took)
        self.report.convergence.append(took)
        missed = truth.missed(self.swarm.devices, self._relevant, self.witness)
        self.report.missed += [f"{name}: {line}" for line in missed]

    async def ask_host(self) -> None:
        """Wait until the webhooks have told the host the truth about all users."""
        began = time.monotonic()
        while problems := truth.check_host(
            self.swarm.devices, self._stage.receiver.statuses()
        ):
            if time.monotonic() > began + HOST_BOUND:
                self.report.wrong["the host"] = problems
                return
            await asyncio.sleep(LOOK_EVERY)
        self.report.host_seconds = time.monotonic() - began

    async def problems(self) -> list[str]:
        """What is wrong now, in the clients and in Redis."""
        for error in self.swarm.broken():
            raise error
        devices = self.swarm.devices
        found = truth.check_clients(devices, self._relevant, self.witness)
        expected = truth.Expected.of(devices)
        try:
            state = await asyncio.to_thread(self._read, expected)
        except redis.RedisError as error:
            return [*found, f"Redis cannot be read: {error}"]
        return found + truth.check_redis(state, expected)

    def _read(self, expected: truth.Expected) -> truth.State:
        with self._stage.server.client() as client:
            return truth.read_redis(client, self._graph.users, expected.held)

    def _sum_up(self) -> None:
        report, swarm = self.report, self.swarm
        injected = self.injector.injected
        found = judge(self.witness, swarm.spans, injected)
        report.injected = injected
        report.transitions = len(self.witness.transitions)
        report.events = swarm.events
        report.duplicates = swarm.duplicates
        report.unexpected = swarm.unexpected()
        report.false_offlines = found.false_offlines
        report.excused_offlines = found.excused
        report.worst_ghost = found.worst_ghost
        report.ghost = found.ghost
        report.worst_calm_ghost = found.worst_calm_ghost
        report.calm_delays = [
            delay for at, delay in swarm.delays if is_calm(at - delay, at, injected)
        ]
        report.worst_lag = swarm.worst_lag
