"""Fixtures that many folders of tests share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.needs import summary
from tests.servers import RedisServer, any_server_command, running_server
from tests.system import System, started

# Some containers forbid Python to keep what it compiles. The tests start hundreds of
# Python processes, and each would compile all of our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each missing program which tests it skipped."""
    for line in summary(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(line, yellow=True)


SHARING = {
    "browser/": "site",
    "e2e/": "system",
    "docs/": "system",
    "python_client/": "system",
    "server_client/": "system",
    "api/test_explain.py": "system",
    "api/test_metrics.py": "system",
    "privacy/": "steady",
}
"""Files and folders under tests/ that share a running Greendot, and its fixture. One
process of pytest-xdist runs all of them. Another one would start its own Greendot for
a few tests, and would have it run until the end."""
LONG_FILES = (
    *SHARING,
    "telemetry/test_logs.py",
    "webhooks/test_whole.py",
    "history/test_whole.py",
    "test_local.py",
    "fuzz/",
    "test_doctor.py",
    "sql/",
)
"""Files and folders under tests/ that take long, the longest first."""
HERE = Path(__file__).parent


class SharingScheduling(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """As `--dist loadfile`, but files that share a Greendot stay together too."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        path = file.removeprefix("tests/")
        found = (name for start, name in SHARING.items() if path.startswith(start))
        return next(found, file)


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> LoadFileScheduling | None:
    """Change only `--dist loadfile`, which `make test` uses."""
    if config.getoption("dist") == "loadfile":
        return SharingScheduling(config, log)
    return None


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores, and at most four: the tests wait half their time,
    for clocks and for processes that start."""
    return min(4, (os.cpu_count() or 1) + 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long files first. At the end a single one would run alone."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(HERE).as_posix()
        found = (n for n, name in enumerate(LONG_FILES) if path.startswith(name))
        return next(found, len(LONG_FILES))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder(request: pytest.FixtureRequest) -> Iterator[None]:
    """All temporary files of this run, those of killed processes too, are in one
    folder. It is removed in the end. If a test has failed, it stays, for the logs. It
    has a short path, because the path of a Unix socket has a limit."""
    folder = tempfile.mkdtemp(prefix="greendot-tests-")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("TMPDIR", folder)
        changed.setattr(tempfile, "tempdir", folder)
        yield
    if not request.session.testsfailed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=["valkey", "redis"])
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A running server of each kind that Greendot supports: Valkey 9, Redis 7.0."""
    with running_server(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a running Valkey (or Redis) that the whole session shares: every test
    uses users or a key prefix of its own."""
    with closing(RedisServer(any_server_command())) as server:
        server.start()
        yield server.url


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """A whole running Greendot that the session shares: every test has users of its
    own, and leaves the processes alone."""
    with started(System()) as running:
        yield running


@pytest.fixture
def own_web(system: System) -> Iterator[int]:
    """The number of a gateway of the shared system that is for one test."""
    with system.another_web() as number:
        yield number


@pytest.fixture
def own_system() -> Iterator[System]:
    """A whole Greendot for one test that stops and kills its processes."""
    with started(System()) as running:
        yield running


@pytest.fixture
def own_system_of() -> Iterator[Callable[..., System]]:
    """Starts a whole Greendot, one gateway, with the settings that a test wants."""
    with ExitStack() as stack:

        def start(
            *, webs: int = 1, files: tuple[int, int] | None = None, **environ: Any
        ) -> System:
            system = System(webs=webs, files=files, **environ)
            return stack.enter_context(started(system))

        yield start
