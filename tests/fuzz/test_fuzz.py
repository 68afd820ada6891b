"""Schemathesis finds no answer that the OpenAPI document does not describe."""

from __future__ import annotations

import subprocess

import pytest

from tests.fuzz.run import ENVIRON, faults_in_logs, schemathesis

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SEED = 4
QUICK = ("--phases", "examples,fuzzing", "--max-examples", "3", "--no-shrink")
LONG = ("--max-examples", "20")


@pytest.mark.parametrize(
    "arguments",
    [QUICK, pytest.param(LONG, marks=pytest.mark.slow)],
    ids=["quick", "long"],
)
def test_every_answer_is_as_described(own_system_of, arguments):
    system = own_system_of(**ENVIRON)
    done = schemathesis(system, *arguments, seed=SEED, output=subprocess.PIPE)
    assert done.returncode == 0, done.stdout
    assert "38 passed" in done.stdout
    assert faults_in_logs(system) == []
