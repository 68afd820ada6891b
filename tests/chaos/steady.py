"""Steady users, beside others who come and go, while the system is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.chaos import truth
from tests.chaos.graph import Graph, random_graph
from tests.chaos.run import BOUND
from tests.chaos.stage import Stage
from tests.chaos.swarm import Swarm
from tests.chaos.witness import Witness

ARRIVING_SECONDS = 6.0

Check = Callable[[], Awaitable[None]]
"""Waits until every device of the steady users sees the truth."""


async def nobody_is_announced_during(
    change: Callable[[Stage, Check], Awaitable[None]],
) -> None:
    """Two hundred clients, and half of them come and go. While `change` happens and
    after it, nobody hears of the steady ones, and all see the truth."""
    async with Stage() as stage:
        witness = Witness(stage.server.port)
        watching = asyncio.create_task(witness.run())
        steady_graph = random_graph(1, 60, "steady")
        moving_graph = random_graph(2, 60, "moving")
        for graph in (steady_graph, moving_graph):
            await asyncio.to_thread(graph.load, stage)
        steady = Swarm(stage, steady_graph, witness, size=100, seed=1)
        moving = Swarm(stage, moving_graph, witness, size=100, seed=2)

        async def all_right() -> None:
            await see_the_truth(steady, steady_graph, witness)

        steady.start()
        moving.start()
        try:
            await asyncio.sleep(ARRIVING_SECONDS)
            steady.hold()
            await all_right()
            before = {device.span.gateway for device in steady.devices if device.span}
            seen = len(witness.transitions)
            await change(stage, all_right)
            await all_right()
            after = {device.span.gateway for device in steady.devices if device.span}
        finally:
            await steady.stop()
            await moving.stop()
            watching.cancel()
    assert len(before) == 2
    assert not before & after, "somebody is still on a gateway that was restarted"
    changes = witness.transitions[seen:]
    assert any(change.user_id in moving_graph.users for change in changes), "no load"
    announced = [change for change in changes if change.user_id in steady_graph.users]
    assert announced == []
    assert steady.unexpected() == []


async def see_the_truth(swarm: Swarm, graph: Graph, witness: Witness) -> None:
    """Wait until every device that is there sees the truth."""
    async with asyncio.timeout(BOUND):
        wrong = [""]
        while wrong:
            wrong = truth.check_clients(swarm.devices, graph.relevant(), witness)
            await asyncio.sleep(0.2)
