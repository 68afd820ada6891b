"""The previous release and this one run side by side, and nobody hears of it.

Every process is replaced in turn under load: first this release by the previous one,
and then the previous one by this one. The database has the tables of this release all
the time, as after the first step of a deploy.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from config import PROJECT_ROOT
from tests import loops
from tests.chaos.faults import Injector
from tests.chaos.schedule import GATEWAYS, WORKERS
from tests.chaos.stage import Stage
from tests.chaos.steady import Check, nobody_is_announced_during
from tests.needs import missing

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

PROCESSES = (*GATEWAYS, *WORKERS, "beat")
RELEASE = re.compile(
    r"^## \[[\d.]+\] - [\d-]+ \(commit ([0-9a-f]{7,40})\)$", re.MULTILINE
)


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The code of the newest release that the changelog names with its commit."""
    changelog = (PROJECT_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = RELEASE.search(changelog)
    assert release is not None
    archive = subprocess.run(
        ["git", "archive", release[1]],
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        missing(f"commit {release[1]} of the previous release", "HISTORY")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.mark.slow
def test_an_upgrade_under_load_and_its_way_back_lose_nothing(previous):
    async def replace_each_process_twice(stage: Stage, all_right: Check) -> None:
        for code in (previous, PROJECT_ROOT):
            stage.code = code
            for name in PROCESSES:
                await Injector(stage).restart(name)
                await all_right()

    loops.run(nobody_is_announced_during(replace_each_process_twice))
