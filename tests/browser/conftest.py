"""A real Chromium in front of a real Greendot."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    sync_playwright,
)

from config import PROJECT_ROOT
from tests.needs import missing
from tests.servers import free_port
from tests.system import System

ARTIFACTS = PROJECT_ROOT / "test-artifacts"
WHOLE_CHROMIUMS = ("chromium", "google-chrome")
CHROMIUMS = ("chromium-headless-shell", *WHOLE_CHROMIUMS)
"""The first that is there is used. The first one has no windows at all: it opens a page
with a third of the processor time. It has no back/forward cache."""
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
        if is_of_this_folder(item):
            item.add_marker(pytest.mark.browser)


def is_of_this_folder(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


def launch(
    playwright: Playwright, names: tuple[str, ...] = CHROMIUMS, **options: Any
) -> Browser:
    found = filter(None, map(shutil.which, names))
    binary = next(found, None)
    if binary is None:
        missing("chromium", "BROWSER")
    return playwright.chromium.launch(
        executable_path=binary, args=CHROMIUM_FLAGS, **options
    )


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


class OwnBrowser:
    """A browser whose processes a test may stop, as sleep does."""

    def __init__(self, playwright: Playwright) -> None:
        before = set(psutil.Process().children(recursive=True))
        self.browser = launch(playwright)
        self._before = before

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        all_of_them = [
            process
            for process in psutil.Process().children(recursive=True)
            if process not in self._before and "chrom" in process.name()
        ]
        assert all_of_them
        for process in all_of_them:
            process.send_signal(number)


@pytest.fixture
def own_browser(playwright: Playwright) -> Iterator[OwnBrowser]:
    own = OwnBrowser(playwright)
    yield own
    own.signal(signal.SIGCONT)
    own.browser.close()


def start_demo(**environ: Any) -> System:
    # A page that reloads on a busy machine is back within the grace.
    environ = {"PRESENCE_DISCONNECT_GRACE": "2", **environ}
    running = System(PRESENCE_DEMO="1", **environ)
    # Pages of gateway 0 may use gateway 1, which is another origin to a browser.
    allowed = [running.url(0), f"http://127.0.0.1:{free_port()}"]
    running.environ["PRESENCE_ALLOWED_ORIGINS"] = ",".join(allowed)
    running.start()
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "seed-demo"],
        cwd=PROJECT_ROOT,
        env=running.environ,
        check=True,
        capture_output=True,
    )
    return running


def second_origin(running: System) -> str:
    """Where a test may serve pages of its own: they may use gateway 0, too."""
    return running.environ["PRESENCE_ALLOWED_ORIGINS"].split(",")[1]


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

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.console.append(f"{message.type}: {message.text}")


# What Chromium itself writes when a server is away, and what the client writes when its
# source of tokens fails or its URL is invalid. Tests of these have no silent console.
OUTAGE = re.compile(
    r"WebSocket connection to|Failed to load resource"
    r"|greendot: (PresenceSecretError|TypeError: url)"
)


@pytest.fixture
def open_tab(chromium: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end no console may hold an error. A test that takes the server
    away says `outage=True`."""
    tabs: list[tuple[Tab, bool]] = []

    def open_(*, outage: bool = False, **options: Any) -> Tab:
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
