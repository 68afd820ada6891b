"""A real Chromium in front of a real Greendot."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from config import PROJECT_ROOT
from tests.servers import is_required
from tests.system import System

ARTIFACTS = PROJECT_ROOT / "test-artifacts"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is marked, so that a run can leave it out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def missing(what: str) -> None:
    """Skip with a line that is seen, or fail where CI says that it must be there."""
    if is_required("BROWSER"):
        pytest.fail(f"{what} is missing, and GREENDOT_REQUIRE_BROWSER is set")
    pytest.skip(f"BROWSER TESTS LEFT OUT: {what} is missing")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=binary, args=CHROMIUM_FLAGS
        )
        yield browser
        browser.close()


def start_demo(**environ: str) -> System:
    running = System(PRESENCE_DEMO="1", **environ)
    running.start()
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "seed-demo"],
        cwd=PROJECT_ROOT,
        env=running.environ,
        check=True,
        capture_output=True,
    )
    return running


@pytest.fixture(scope="session")
def site(chromium: Browser) -> Iterator[System]:
    """A running demo that the session shares."""
    assert chromium.is_connected()  # without a browser there is nothing to start
    running = start_demo()
    yield running
    running.close()


class Tab:
    """A page in a browser context of its own, and everything its console said."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.console: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.console.append(f"thrown: {error}"))

    def _hear(self, message: object) -> None:
        if message.type in {"error", "warning"}:
            self.console.append(f"{message.type}: {message.text}")


# What Chromium itself writes when a server is away: no script can keep it from that.
OUTAGE = re.compile(r"WebSocket connection to|Failed to load resource")


@pytest.fixture
def open_tab(chromium: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end no console may hold an error. A test that takes the server
    away says `outage=True`."""
    tabs: list[tuple[Tab, bool]] = []

    def open_(*, outage: bool = False, **options: object) -> Tab:
        options.setdefault("reduced_motion", "reduce")
        tab = Tab(chromium.new_context(**options))
        tab.page.set_default_timeout(10_000)
        tabs.append((tab, outage))
        return tab

    yield open_
    for tab, outage in tabs:
        tab.context.close()
        said = [line for line in tab.console if not (outage and OUTAGE.search(line))]
        assert said == []


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keep a screenshot where people (and CI) can look at it."""
    ARTIFACTS.mkdir(exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    return take
