"""All devices of a run, and what they are told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from models.events import Transition
from tests.chaos.device import Device
from tests.chaos.graph import Graph
from tests.chaos.span import Span
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness

TOKEN_SECONDS = 24 * 3600.0
LAG_EVERY = 0.1


class Swarm:
    """The devices, in one event loop."""

    def __init__(
        self, stage: Stage, graph: Graph, witness: Witness, *, size: int, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
        self._witness = witness
        self._churn = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.spans: list[Span] = []
        """Every socket that was ever welcomed."""
        self.events = 0
        self.duplicates: list[str] = []
        self.delays: list[tuple[float, float]] = []
        """When an event came, and how many seconds after its transition."""
        self.worst_lag = 0.0
        """Seconds by which this process itself was late, at worst."""
        lines = [stage.lines[f"clients of web{n}"] for n in range(2)]
        # Everybody has a device, and some have two or three.
        owners = [*graph.users, *chance.choices(graph.users, k=size - len(graph.users))]
        self.devices = [
            Device(
                f"{user_id}/{number}",
                user_id,
                stage.token(user_id, TOKEN_SECONDS),
                lines,
                seed=chance.getrandbits(32),
                churn=self._churn,
                on_change=self._note_change,
                on_span=self.spans.append,
            )
            for number, user_id in enumerate(owners)
        ]

    def start(self) -> None:
        """Let them come and go."""
        self._churn.set()
        runs = [device.run() for device in self.devices]
        self._tasks = [asyncio.create_task(run) for run in (*runs, self._watch_lag())]

    async def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """From now on nobody comes or goes by will; a client that loses
        its socket comes back."""
        self._churn.clear()

    def go_on(self) -> None:
        """Let them come and go again."""
        self._churn.set()

    def broken(self) -> Sequence[BaseException]:
        """Errors of the harness itself: a device never ends."""
        done = (task for task in self._tasks if task.done() and not task.cancelled())
        return [task.exception() or RuntimeError("a device ended") for task in done]

    def unexpected(self) -> list[str]:
        """What a correct client should never be sent."""
        return [text for device in self.devices for text in device.unexpected]

    def _note_change(self, span: Span, change: Transition, *, is_new: bool) -> None:
        now = time.time()
        self.events += 1
        self.delays.append((now, now - change.timestamp / 1000))
        if not is_new:
            self.duplicates.append(f"{span.device} {span.connection_id}: {change}")
        self._witness.learn(change)

    async def _watch_lag(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(LAG_EVERY)
            self.worst_lag = max(self.worst_lag, clock() - before - LAG_EVERY)
