"""A planned restart of every gateway, one after the other, that nobody hears of."""

from __future__ import annotations

import asyncio

import pytest

from tests import loops
from tests.chaos import truth
from tests.chaos.faults import Injector
from tests.chaos.graph import random_graph
from tests.chaos.run import BOUND
from tests.chaos.schedule import KINDS, Fault
from tests.chaos.stage import Stage
from tests.chaos.swarm import Swarm
from tests.chaos.witness import Witness

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROLLING = next(kind for kind in KINDS if kind.name == "rolling restart")
ARRIVING_SECONDS = 6.0


@pytest.mark.slow
def test_a_rolling_restart_under_load_announces_nobody_offline():
    loops.run(restart_all_gateways())


async def restart_all_gateways():
    async with Stage() as stage:
        witness = Witness(stage.server.port)
        watching = asyncio.create_task(witness.run())
        steady_graph = random_graph(1, 60, "steady")
        moving_graph = random_graph(2, 60, "moving")
        for graph in (steady_graph, moving_graph):
            await asyncio.to_thread(graph.load, stage)
        steady = Swarm(stage, steady_graph, witness, size=100, seed=1)
        moving = Swarm(stage, moving_graph, witness, size=100, seed=2)
        steady.start()
        moving.start()
        try:
            await asyncio.sleep(ARRIVING_SECONDS)
            steady.hold()
            await all_right(steady, steady_graph, witness)
            before = {device.span.gateway for device in steady.devices if device.span}
            seen = len(witness.transitions)
            await Injector(stage).inject(Fault(ROLLING, "gateways", 0, 0, 0))
            await all_right(steady, steady_graph, witness)
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


async def all_right(swarm: Swarm, graph, witness: Witness) -> None:
    """Wait until every device that is there sees the truth."""
    async with asyncio.timeout(BOUND):
        wrong = True
        while wrong:
            wrong = truth.check_clients(swarm.devices, graph.relevant(), witness)
            await asyncio.sleep(0.2)
