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
SLACK = 0.25
"""Seconds for what is not the page's doing on a busy machine."""

# When the page last heard its server, and each change of the number of green dots.
WATCH = """() => {
    window.lastHeard = 0;
    window.greens = [];
    const Socket = WebSocket;
    window.WebSocket = class extends Socket {
        constructor(url) {
            super(url);
            this.addEventListener('message', () => (lastHeard = Date.now()));
        }
    };
    const count = () => {
        const green = document.querySelectorAll('li[data-presence=online]').length;
        if (greens.at(-1)?.green !== green) greens.push({ green, at: Date.now() });
    };
    new MutationObserver(count).observe(document, {
        subtree: true, childList: true, attributeFilter: ['data-presence'],
    });
}"""


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
    page.add_init_script(f"({WATCH})()")
    with Client(fragile, "grace", web=1).opened():
        page.goto(fragile.url() + "/")
        page.get_by_role("button", name="Ada Lovelace").click()
        expect(grace_on(page)).to_have_attribute("data-presence", "online")
        yield page
        page.close()


def grace_on(page: Page):
    return page.locator("#friends [data-user=grace]")


def became(page: Page, *, green: bool, since: float) -> float:
    """Seconds (since the epoch) at which the page first showed green, or none, after
    `since`."""
    condition = """([green, since]) =>
        greens.find((seen) => seen.at >= since && seen.green > 0 === green)?.at"""
    found = page.wait_for_function(condition, arg=[green, since * 1000])
    return found.json_value() / 1000


def is_live(page: Page) -> None:
    expect(grace_on(page)).to_have_attribute("data-presence", "online")
    expect(page.locator("#connection")).to_have_text("Live")


def test_a_silent_server_is_noticed_within_one_heartbeat(fragile, ada, picture):
    web = fragile.processes["web0"]
    stopped = time.time()
    web.signal_group(signal.SIGSTOP)
    grey = became(ada, green=False, since=stopped)
    assert grey - ada.evaluate("lastHeard") / 1000 <= HEARTBEAT + SLACK
    expect(ada.locator("#connection")).to_have_text("Reconnecting…")
    picture(ada, "friends-stale")
    ada.wait_for_timeout(3_000)
    back = time.time()
    web.signal_group(signal.SIGCONT)
    assert became(ada, green=True, since=back) - back <= 1 + SLACK
    is_live(ada)


def test_a_crashed_server_is_noticed_at_once_and_its_return_too(fragile, ada):
    crashed = time.time()
    fragile.processes["web0"].kill()
    assert became(ada, green=False, since=crashed) - crashed <= SLACK
    ada.wait_for_timeout(2_000)
    fragile.start_web(0)
    fragile.wait_ready(0)
    back = time.time()
    # It may be back before `wait_ready` has asked again.
    assert became(ada, green=True, since=crashed + SLACK) - back <= 1 + SLACK
    is_live(ada)


def test_a_planned_restart_is_followed_by_a_planned_return(fragile, ada):
    ada.evaluate("""async () => {
        const { createPresenceClient } = await import('/static/greendot/index.js');
        window.frames = [];
        window.closes = [];
        window.ada = createPresenceClient({
            random: () => 5,  // what nobody planned takes five seconds
            onFrame: (frame) => frames.push(frame),
            onClose: (code, retryIn) => closes.push([code, retryIn]),
        });
    }""")
    # A function, not an expression: the page's policy forbids eval.
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    began = time.monotonic()
    fragile.processes["web0"].stop()
    drained = time.monotonic() - began
    fragile.start_web(0)
    fragile.wait_ready(0)
    back = time.time()
    is_live(ada)
    assert ada.evaluate("greens.at(-1).at") / 1000 - back <= 1 + SLACK
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    told = ada.evaluate("frames.find(({ event }) => event === 'going_away').data")
    assert 0 <= told["reconnect_in"] <= drained
    code, retry_in = ada.evaluate("closes[0] ?? [null, 0]")
    # Closed by the server, unless the planned return came first, perhaps too early.
    assert code in {1012, 1006, None}
    if code == 1012:
        assert retry_in <= 1000


def test_a_redis_that_comes_back_empty_is_filled_again(fragile, ada):
    fragile.server.kill()
    ada.wait_for_timeout(500)
    fragile.server.start()
    is_live(ada)
    wait_until(lambda: fragile.is_online("grace"))
    ada.reload()
    is_live(ada)
