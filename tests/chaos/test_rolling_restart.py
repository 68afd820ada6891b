"""A planned restart of every gateway, one after the other, that nobody hears of."""

from __future__ import annotations

import pytest

from tests import loops
from tests.chaos.faults import Injector
from tests.chaos.schedule import KINDS, Fault
from tests.chaos.stage import Stage
from tests.chaos.steady import Check, nobody_is_announced_during

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROLLING = next(kind for kind in KINDS if kind.name == "rolling restart")


@pytest.mark.slow
def test_a_rolling_restart_under_load_announces_nobody_offline():
    async def restart_all_gateways(stage: Stage, _: Check) -> None:
        await Injector(stage).inject(Fault(ROLLING, "gateways", 0, 0, 0))

    loops.run(nobody_is_announced_during(restart_all_gateways))
