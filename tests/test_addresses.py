"""Where the demo may listen: on this computer only."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app.dev.processes import read_procfile
from app.server.addresses import demo_refusal
from config import PROJECT_ROOT, Settings
from tests.servers import free_port

DEMO = {"PRESENCE_JWT_SECRET": "s" * 32, "PRESENCE_DEMO": "1"}
OPEN = ("0.0.0.0", 8000)  # noqa: S104 - it is refused


@pytest.mark.parametrize(
    "addresses",
    [
        [OPEN],
        [("127.0.0.1", 8000), OPEN],
        [("::", 8000, 0, 0)],
        [("192.168.1.7", 8000)],
        [("greendot.example.com", 8000)],
        [("", 8000)],
    ],
)
def test_a_demo_that_others_can_reach_is_refused(addresses):
    message = demo_refusal(Settings.from_env(DEMO), addresses)
    assert message is not None
    assert message.startswith("PRESENCE_DEMO=1: other computers can reach ")
    insecure = Settings.from_env({**DEMO, "PRESENCE_INSECURE": "1"})
    assert demo_refusal(insecure, addresses) is None
    without_demo = Settings.from_env({**DEMO, "PRESENCE_DEMO": "0"})
    assert demo_refusal(without_demo, addresses) is None


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 8000),
        ("127.8.9.10", 8000),
        ("::1", 8000),
        ("localhost", 8000),
        "/run/greendot.sock",
    ],
)
def test_a_demo_on_this_computer_is_allowed(address):
    assert demo_refusal(Settings.from_env(DEMO), [address]) is None


@pytest.mark.timeout(60)
def test_the_web_process_does_not_start_with_an_open_demo():
    command = shlex.split(read_procfile(PROJECT_ROOT / "Procfile")["web"])
    port = free_port()
    ended = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]],
        cwd=PROJECT_ROOT,
        env={**os.environ, **DEMO, "PORT": str(port), "GUNICORN_CMD_ARGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    # Before it comes gunicorn's line about its own start.
    assert ended.stderr.splitlines(keepends=True)[-1] == (
        f"greendot: PRESENCE_DEMO=1: other computers can reach 0.0.0.0:{port}, and on "
        f"the demo page anybody can sign in as anybody. Listen here only, "
        f"with GUNICORN_CMD_ARGS=--bind=127.0.0.1:{port}. For a trial, "
        f"PRESENCE_INSECURE=1 allows it\n"
    )
