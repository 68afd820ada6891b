"""The Procfile's worker: how many processes it has, and how they get on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app.dev.processes import read_procfile
from config import PROJECT_ROOT
from tasks.celery_app import NICENESS

NAME = "CELERY_WORKER_CONCURRENCY"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("given", "processes"), [({}, 2), ({NAME: "3"}, 3)])
def test_it_has_as_many_processes_as_it_is_told_or_two(given, processes):
    _, *arguments = shlex.split(read_procfile(PROJECT_ROOT / "Procfile")["worker"])
    arguments.remove("--quiet")
    with subprocess.Popen(
        [Path(sys.executable).parent / "celery", *arguments],
        cwd=PROJECT_ROOT,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("CELERY_")},
            # Nobody listens there: it says what it has before it asks for work.
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "PRESENCE_JWT_SECRET": "s" * 32,
            **given,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        try:
            said = next(line for line in worker.stdout if "concurrency:" in line)
        finally:
            worker.terminate()
    assert said.split("concurrency:")[1].split() == [str(processes), "(prefork)"]


def test_its_processes_give_way_to_a_gateway_on_their_machine():
    script = (
        "import os; from celery.signals import worker_process_init as begins\n"
        "import tasks.worker; before = os.nice(0)\n"
        "begins.send(None); print(os.nice(0) - before)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PRESENCE_JWT_SECRET": "s" * 32},
        capture_output=True,
        check=True,
        text=True,
    )
    assert said.stdout.strip() == str(NICENESS)
