"""A short run of the chaos harness, and proof that its eyes are open."""

from __future__ import annotations

import pytest

from tests import loops
from tests.chaos import truth
from tests.chaos.run import Run
from tests.chaos.schedule import KINDS, Fault
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SEED = 4
DEVICES = 100
ROUND = (
    ("delay", "redis of workers", 0.0, 3.0),
    ("kill", "worker0", 0.5, 0.5),
    ("kill every connection", "valkey", 1.0, 0.0),
    ("kill", "web1", 1.5, 0.5),
    ("restart from an old snapshot", "valkey", 3.0, 0.5),
    # Late, so that no snapshot after the restart makes good what it lost.
    ("cut", "database", 7.0, 3.0),
)
"""Of each part that can fail one fault, in one round; `make chaos` does them all."""


def fault(name: str, target: str, at: float, lasts: float) -> Fault:
    (kind,) = {kind for kind in KINDS if kind.name == name and target in kind.targets}
    return Fault(kind, target, at, lasts, SEED)


@pytest.mark.slow
def test_all_becomes_right_after_a_round_of_faults_and_a_wrong_state_is_seen():
    loops.run(hurt_and_look())


async def hurt_and_look():
    async with Stage() as stage:
        run = Run(stage, SEED, DEVICES)
        report = run.report
        async with run.running():
            await run.calm(6)
            await run.round("round", [fault(*row) for row in ROUND])
            await run.ask_host()
            seen = await plant_what_is_wrong(stage, run)
        assert not report.failures(), report.text()
        assert len(report.convergence) == 2
        assert len(report.injected) == len(ROUND)
        assert report.transitions > DEVICES / 2
        assert report.events > report.transitions
    assert "online_users has ['ghost'] too many and lacks []" in seen
    assert "says offline" in seen
    assert "has ['a:b:ghost'] too many" in seen
    assert "sees" in seen
    assert "the host believes that nobody is online" in seen


async def plant_what_is_wrong(stage: Stage, run: Run) -> str:
    """What the looks, which found nothing just now, say to a state that is wrong."""
    device = next(device for device in run.swarm.devices if device.wanted)
    assert device.span is not None
    friend = next(iter(device.span.statuses))
    device.span.statuses[friend] = ("offline", 1)
    if friend not in truth.online_users(run.swarm.devices):
        device.span.statuses[friend] = ("online", 1)
    with stage.server.client() as client:
        online = sorted(client.smembers("online_users"))
        # Not one who is taken out: his next heartbeat puts him back, maybe unseen.
        client.sadd("online_users", "ghost")
        client.hset(f"user:{online[1]}:status", "status", "offline")
        client.zadd(f"user:{online[2]}:connections", {"a:b:ghost": 9e15})
    believed = stage.receiver.statuses() | {"nobody": "online"}
    wrong = truth.check_host(run.swarm.devices, believed)
    return "\n".join(await run.problems() + wrong)
