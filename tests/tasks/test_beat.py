"""Beat ends when it is told to, whatever it does at that moment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from app.dev.processes import read_procfile
from config import PROJECT_ROOT

ENVIRON = {
    # Nobody listens there, and beat sends nothing.
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "PRESENCE_JWT_SECRET": "s" * 32,
}


def test_a_signal_is_not_lost_where_nothing_can_be_raised():
    _, *arguments = shlex.split(read_procfile(PROJECT_ROOT / "Procfile")["beat"])
    done = subprocess.run(
        [
            Path(sys.executable).parent / "celery",
            *arguments,
            "--scheduler=tests.tasks.swallowing:Scheduler",
        ],
        cwd=PROJECT_ROOT,
        env={**os.environ, **ENVIRON, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "beat has started" in done.stderr


def test_it_imports_no_task():
    code = (
        "import sys; from tasks.celery_app import celery\n"
        "celery.loader.init_worker(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={**os.environ, **ENVIRON},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "tasks.startup" in loaded
    assert not loaded & {"tasks.broadcast", "tasks.worker", "sqlalchemy"}
