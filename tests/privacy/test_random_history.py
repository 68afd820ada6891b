"""Random changes of settings, relations and connections: every client is shown exactly
what the model says, and is told nothing else."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.privacy.history import History

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

STEPS = 25


def run(system, seed, steps, users):
    with closing(History(system, seed, users)) as history:
        for _ in range(steps):
            history.step()
            if history.random.random() < 0.2:
                history.compare_fresh_clients()
        history.compare_fresh_clients()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_client_is_shown_what_the_model_says(steady, seed):
    run(steady, seed, STEPS, users=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 16))
def test_long_histories(steady, seed):
    run(steady, seed, 3 * STEPS, users=6)
