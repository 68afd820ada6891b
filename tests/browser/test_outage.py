"""What people see while the server is away, and how soon it is right again."""

from __future__ import annotations

import signal
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import start_demo
from tests.clients import Client
from tests.system import System, wait_until

HEARTBEAT = 2.0
SEEN_BY_EYE = 0.25
"""Seconds for the page to draw and for this test to look, on a busy machine."""


@pytest.fixture(scope="module")
def fragile(chromium):
    assert chromium.is_connected()
    running = start_demo()
    yield running
    running.close()


@pytest.fixture
def ada(fragile: System, open_tab):
    """Ada's page at gateway 0; her friend Grace is online at gateway 1."""
    tab = open_tab(outage=True)
    page = tab.page
    with Client(fragile, "grace", web=1).opened():
        page.goto(fragile.url() + "/")
        page.get_by_role("button", name="Ada Lovelace").click()
        expect(grace_on(page)).to_have_attribute("data-presence", "online")
        yield page
        page.close()


def grace_on(page: Page):
    return page.locator("#friends [data-user=grace]")


def shows_no_green(page: Page, within: float) -> None:
    expect(page.locator("li[data-presence=online]")).to_have_count(
        0, timeout=within * 1000
    )


def is_right_again(page: Page, within: float) -> None:
    expect(grace_on(page)).to_have_attribute(
        "data-presence", "online", timeout=within * 1000
    )
    expect(page.locator("#connection")).to_have_text("Live")


def test_a_silent_server_is_noticed_within_one_heartbeat(fragile, ada, picture):
    web = fragile.processes["web0"]
    web.signal_group(signal.SIGSTOP)
    shows_no_green(ada, HEARTBEAT + SEEN_BY_EYE)
    expect(ada.locator("#connection")).to_have_text("Reconnecting…")
    picture(ada, "friends-stale")
    ada.wait_for_timeout(3_000)
    web.signal_group(signal.SIGCONT)
    is_right_again(ada, within=2.5)


def test_a_crashed_server_is_noticed_at_once_and_its_return_too(fragile, ada):
    fragile.processes["web0"].kill()
    shows_no_green(ada, SEEN_BY_EYE)
    ada.wait_for_timeout(2_000)
    fragile.start_web(0)
    fragile.wait_ready(0)
    is_right_again(ada, within=1 + SEEN_BY_EYE)


def test_a_planned_restart_is_followed_by_a_planned_return(fragile, ada):
    ada.evaluate("""async () => {
        const { createPresenceClient } = await import('/static/greendot/index.js');
        window.frames = [];
        window.closes = [];
        window.ada = createPresenceClient({
            onFrame: (frame) => frames.push(frame),
            onClose: (code, retryIn) => closes.push([code, retryIn]),
        });
    }""")
    ada.wait_for_function("ada.store.getState().connection === 'live'")
    began = time.monotonic()
    fragile.processes["web0"].stop()
    drained = time.monotonic() - began
    fragile.start_web(0)
    fragile.wait_ready(0)
    is_right_again(ada, within=1 + SEEN_BY_EYE)
    ada.wait_for_function("ada.store.getState().connection === 'live'")
    told = ada.evaluate("frames.find(({ event }) => event === 'going_away').data")
    assert 0 <= told["reconnect_in"] <= drained
    code, retry_in = ada.evaluate("closes[0] ?? [null, 0]")
    # Closed by the server (1012), unless its own planned return came first.
    assert code in {1012, None, 1006}
    assert retry_in <= 1000


def test_a_redis_that_comes_back_empty_is_filled_again(fragile, ada):
    fragile.server.kill()
    ada.wait_for_timeout(500)
    fragile.server.start()
    is_right_again(ada, within=8)
    wait_until(lambda: fragile.is_online("grace"))
    ada.reload()
    is_right_again(ada, within=5)
