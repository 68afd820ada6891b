"""Random changes of details, idleness, settings, relations and connections: clients
that want details have those of the model, and other clients get nothing new."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.privacy.detail_history import DetailHistory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

HURTS = ("flush", "kill_worker", "restart_web")


def run(system, seed, steps, users, hurts=()):
    with closing(DetailHistory(system, seed, users, hurts)) as history:
        for _ in range(steps):
            history.step()
            if history.random.random() < 0.15:
                history.compare_fresh_clients()
        history.compare_fresh_clients()


def test_every_client_is_shown_the_details_of_the_model(steady):
    run(steady, seed=101, steps=12, users=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(110, 116))
def test_long_histories(steady, seed):
    run(steady, seed, steps=50, users=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(120, 124))
def test_histories_with_faults(hurt, seed):
    run(hurt, seed, steps=25, users=4, hurts=HURTS)
