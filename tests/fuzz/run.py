"""Runs Schemathesis against a running system.

Schemathesis reads the OpenAPI document of the system, and makes calls of it: right ones
and wrong ones. It checks that each answer is as the document says, that no answer is a
server error, and that wrong calls are refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from config import PROJECT_ROOT
from tests.system import SERVICE_KEY, System

CONFIG = Path(__file__).with_name("schemathesis.toml")
RECEIVER = "http://127.0.0.1:9/greendot"
"""A webhook receiver. Nobody listens there."""
ENVIRON: dict[str, Any] = {
    "PRESENCE_WEBHOOK_URLS": RECEIVER,
    "PRESENCE_WEBHOOK_SECRETS": "whsec_" + 32 * "A",
    "PRESENCE_WEBHOOK_ALLOW_PRIVATE": "1",
}
"""Settings of a system that has everything that the document describes."""


def schemathesis(
    system: System, *arguments: str, seed: int, output: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis against `system`, with more `arguments` for it. Its exit code is
    0 if it found nothing. With `subprocess.PIPE` as `output`, the result has its
    report."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{system.url()}/openapi.json", "--seed", str(seed)),
            *("--no-color", "--generation-database", "none"),
            *arguments,
        ],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "FUZZ_URL": system.url(),
            "FUZZ_SERVICE_KEY": SERVICE_KEY,
            "FUZZ_RECEIVER": RECEIVER,
        },
        stdout=output,
        stderr=output and subprocess.STDOUT,
        text=True,
        check=False,
    )


def faults_in_logs(system: System) -> list[str]:
    """Lines of the logs that say that a process had a bug."""
    signs = ("Traceback", "Exception on", "a call is answered with 500")
    lines = system.logs().splitlines()
    return [line for line in lines if any(sign in line for sign in signs)]
