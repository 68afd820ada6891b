"""What people see while the server is away, and that it is right again afterwards. The
order of events is looked at, not their time, which a busy machine changes."""

from __future__ import annotations

import signal
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import start_demo
from tests.clients import Client
from tests.system import System, wait_until

# What happens on the page, in order: sockets begin and end, dots turn green and grey.
WATCH = """() => {
    window.seen = [];
    const Socket = WebSocket;
    window.WebSocket = class extends Socket {
        constructor(url) {
            super(url);
            seen.push('try');
            this.addEventListener('close', () => seen.push('end'));
        }
        close(...given) {
            seen.push('end');
            super.close(...given);
        }
    };
    let colour;
    const count = () => {
        const green = document.querySelector('li[data-presence=online]') !== null;
        if (colour !== green) seen.push(green ? 'green' : 'grey');
        colour = green;
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
        page.goto(fragile.url() + "/one")
        page.get_by_role("button", name="Ada Lovelace").click()
        expect(grace_on(page)).to_have_attribute("data-presence", "online")
        yield page
        page.close()


def grace_on(page: Page):
    return page.locator("#friends [data-user=grace]")


def seen_until(page: Page, event: str) -> list[str]:
    """What was seen before `event`."""
    page.wait_for_function("(event) => seen.includes(event)", arg=event)
    return page.evaluate("(event) => seen.slice(0, seen.indexOf(event))", event)


# A client beside the page's own, that says what it does.
ANOTHER = """async () => {
    const { createPresenceClient } = await import('/static/greendot/index.js');
    window.frames = [];
    window.closes = [];
    let lost = 0;
    window.ada = createPresenceClient({
        share: false,
        onFrame: (frame) => frames.push(frame),
        onClose: (code, retryIn) => {
            lost ||= Date.now();
            closes.push([code, retryIn, Date.now() - lost]);
        },
    });
}"""


def is_live(page: Page) -> None:
    expect(grace_on(page)).to_have_attribute("data-presence", "online")
    expect(page.locator("#connection")).to_have_text("Live")


@pytest.mark.slow
def test_a_silent_server_is_noticed_within_one_heartbeat(fragile, ada, picture):
    web = fragile.processes["web0"]
    ada.evaluate("seen.length = 0")
    web.signal_group(signal.SIGSTOP)
    # By the silence: the socket is given up later, when a heartbeat had no answer.
    assert seen_until(ada, "grey") == []
    expect(ada.locator("#connection")).to_have_text("Reconnecting…")
    picture(ada, "friends-stale")
    ada.wait_for_timeout(3_000)
    web.signal_group(signal.SIGCONT)
    is_live(ada)


@pytest.mark.slow
def test_a_crashed_server_is_noticed_at_once_and_its_return_too(fragile, ada):
    ada.evaluate(ANOTHER)
    # A function, not an expression: the page's policy forbids eval.
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    ada.evaluate("seen.length = 0")
    fragile.processes["web0"].kill()
    assert "try" not in seen_until(ada, "grey")
    ada.wait_for_function("() => closes.length >= 2")
    fragile.start_web(0)
    fragile.wait_ready(0)
    is_live(ada)
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    # A tenth of the outage, and a second where that is more.
    waits = ada.evaluate("closes.map(([, retryIn, outage]) => retryIn - outage / 10)")
    assert max(waits) <= 1_000


@pytest.mark.slow
def test_a_planned_restart_is_followed_by_a_planned_return(fragile, ada):
    ada.evaluate("Math.random = () => 5")  # what nobody planned takes five seconds
    ada.evaluate(ANOTHER)
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    began = time.monotonic()
    fragile.processes["web0"].stop()
    drained = time.monotonic() - began
    fragile.start_web(0)
    fragile.wait_ready(0)
    is_live(ada)
    ada.wait_for_function("() => ada.store.getState().connection === 'live'")
    told = ada.evaluate("frames.find(({ event }) => event === 'going_away').data")
    assert 0 <= told["reconnect_in"] <= drained
    code, retry_in, _ = ada.evaluate("closes[0] ?? [null, 0, 0]")
    # Closed by the server, unless the planned return came first, perhaps too early.
    assert code in {1012, 1006, None}
    if code == 1012:
        assert retry_in <= 1000


@pytest.mark.slow
def test_a_redis_that_comes_back_empty_is_filled_again(fragile, ada):
    fragile.server.kill()
    ada.wait_for_timeout(500)
    fragile.server.start()
    is_live(ada)
    wait_until(lambda: fragile.is_online("grace"))
    ada.reload()
    is_live(ada)
