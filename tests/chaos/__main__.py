"""`python -m tests.chaos --seed N --minutes M`: hurt a running Greendot in every way
for M minutes, and show that it is right again each time. If not, the exit code is 1."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys

from tests.chaos.run import BOUND, CALM_SECONDS, DEVICES, Run
from tests.chaos.schedule import ROUND_SECONDS, schedule
from tests.chaos.stage import Stage

TYPICAL_ROUND = ROUND_SECONDS + BOUND * 0.75
"""Seconds that a round takes, all in all."""


def main() -> int:
    """Run it, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6)
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--devices", type=int, default=DEVICES)
    asked = parser.parse_args()
    rounds = max(1, round((asked.minutes * 60 - CALM_SECONDS) / TYPICAL_ROUND))
    return asyncio.run(_run(asked.seed, rounds, asked.devices))


async def _run(seed: int, rounds: int, devices: int) -> int:
    # As Ctrl-C does: what was started is stopped.
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with Stage() as stage:
        logging.basicConfig(
            filename=stage.folder / "chaos.log",
            format="%(asctime)s %(name)s %(message)s",
            level=logging.INFO,
        )
        logging.getLogger("websockets").setLevel(logging.CRITICAL)
        sys.stdout.write(f"seed {seed}, {rounds} rounds, logs in {stage.folder}\n")
        report = await Run(stage, seed, devices).go(schedule(seed, rounds))
        sys.stdout.write(report.text() + "\n")
        sys.stdout.flush()
    if report.failures():
        return 1
    stage.forget()
    return 0


if __name__ == "__main__":
    sys.exit(main())
