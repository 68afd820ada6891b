"""The main cases, and those in which browsers differ, in Chromium and in Firefox."""

from __future__ import annotations

import http.server
import itertools
import signal
import threading
import time

import pytest

from tests.browser.conftest import WHOLE_CHROMIUMS, launch
from tests.browser.firefox import Firefox, FirefoxPage
from tests.browser.test_client import live, sees, wait_for
from tests.browser.test_tabs import leaders, new_tab, sockets_of
from tests.clients import Client
from tests.system import wait_until

numbers = itertools.count()
PAGE = "/static/demo/demo.css"
"""A document without a script, a policy or a viewer of the browser's own."""


@pytest.fixture(
    scope="module",
    params=[
        # Its own tests, beside this file, cover the same.
        pytest.param("chromium", marks=pytest.mark.slow),
        "firefox",
    ],
)
def browser(request):
    if request.param == "firefox":
        running = Firefox()
    else:
        playwright = request.getfixturevalue("playwright")
        # Playwright turns the back/forward cache off.
        on = ["--disable-back-forward-cache"]
        running = launch(playwright, WHOLE_CHROMIUMS, ignore_default_args=on)
    yield running
    running.close()


@pytest.fixture
def context(browser):
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture
def names(site):
    number = next(numbers)
    me, friend = f"both-{number}-me", f"both-{number}-friend"
    site.befriend(me, friend)
    return me, friend


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site: pages, downloads, and answers without a page."""

    def do_GET(self):
        if "slow" in self.path:
            time.sleep(1)
        self.send_response(204 if "no-page" in self.path else 200)
        if "download" in self.path:
            self.send_header("Content-Disposition", "attachment; filename=some.bin")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if "no-page" not in self.path:
            self.wfile.write(b"<p>another page</p>")

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def elsewhere():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# Each time a friend who is green ceases to be, and how often this page was shown again.
WATCH = """(friend) => {
    window.greys = [];
    store.subscribe(() => isOnline(friend) || greys.push(store.getState().connection));
    window.shown = 0;
    addEventListener('pageshow', ({ persisted }) => (shown += persisted ? 1 : 0));
}"""
FOLLOW_LINK = """(url) => {
    const link = document.createElement('a');
    link.href = url;
    document.documentElement.append(link);
    setTimeout(() => link.click());
}"""
BACK = "void setTimeout(() => history.back())"
TOLD = "dispatchEvent(new PageTransitionEvent('page%s', { persisted: true }))"


def into_cache(tab, elsewhere: str) -> None:
    """Firefox caches no page that has a socket or waits for a lock. It does cache one
    whose socket is away, and tells it so; here the page is only told."""
    if isinstance(tab, FirefoxPage):
        tab.evaluate(TOLD % "hide")
    else:
        tab.evaluate(FOLLOW_LINK, f"{elsewhere}/page")


def out_of_cache(tab) -> None:
    tab.evaluate(TOLD % "show" if isinstance(tab, FirefoxPage) else BACK)
    tab.wait_for_function("window.shown === 1")


def tabs_of(context, site, names, how_many: int) -> list:
    """Tabs of one user, the leading one first, that show the friend as green."""
    me, friend = names
    tabs = [new_tab(context, site, me, page=PAGE) for _ in range(how_many)]
    for tab in tabs:
        live(tab)
        sees(tab, friend, online=True)
        tab.evaluate(WATCH, friend)
    (leader,) = leaders(tabs)
    tabs.remove(leader)
    return [leader, *tabs]


def test_it_comes_live_and_hears_of_friends(site, context, names):
    me, friend = names
    tab = new_tab(context, site, me, page=PAGE)
    live(tab)
    with Client(site, friend, web=1).opened():
        sees(tab, friend, online=True)
    sees(tab, friend, online=False)


def test_a_crash_is_seen_at_once_and_so_is_the_return(site, context, names):
    me, friend = names
    with Client(site, friend).opened():
        tab = new_tab(context, site, me, web=1, page=PAGE, share=False)
        live(tab)
        sees(tab, friend, online=True)
        site.processes["web1"].kill()
        sees(tab, friend, online=False)
        site.start_web(1)
        site.wait_ready(1)
        live(tab)
        sees(tab, friend, online=True)


def test_a_silent_server_is_noticed(site, context, names):
    me, friend = names
    with Client(site, friend).opened():
        tab = new_tab(context, site, me, web=1, page=PAGE, share=False)
        live(tab)
        sees(tab, friend, online=True)
        site.processes["web1"].signal_group(signal.SIGSTOP)
        try:
            sees(tab, friend, online=False)
        finally:
            site.processes["web1"].signal_group(signal.SIGCONT)
        sees(tab, friend, online=True)


def test_tabs_share_a_socket_and_the_next_one_leads(site, context, names):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        leader, *rest = tabs_of(context, site, names, 3)
        assert sockets_of(site, me) == 1
        watcher.expect_change(me, "online")
        leader.close()
        wait_for(rest[0], lambda: len(leaders(rest)) == 1)
        for tab in rest:
            live(tab)
            assert tab.evaluate("greys") == []
        wait_for(rest[0], lambda: sockets_of(site, me) == 1)
        assert watcher.changes(1) == []  # nobody noticed


@pytest.mark.slow
@pytest.mark.parametrize("link", ["slow-no-page", "download"])
def test_a_page_that_stays_after_all_turns_nobody_grey(
    site, context, elsewhere, names, link
):
    """Firefox closes the sockets of a page as soon as it follows a link (1001)."""
    me, friend = names
    with Client(site, friend).opened() as watcher:
        tabs = tabs_of(context, site, names, 2)
        watcher.expect_change(me, "online")
        for _ in range(2):
            tabs[0].evaluate(FOLLOW_LINK, f"{elsewhere}/{link}")
            time.sleep(1.5)
        for tab in tabs:
            live(tab)
            assert tab.evaluate("greys") == []
        assert watcher.changes(0.5) == []


@pytest.mark.slow
@pytest.mark.parametrize("goes", ["reloads", "navigates"])
def test_a_leader_that_goes_turns_nobody_grey(site, context, elsewhere, names, goes):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        leader, follower = tabs_of(context, site, names, 2)
        watcher.expect_change(me, "online")
        if goes == "reloads":
            leader.reload()
        else:
            leader.goto(f"{elsewhere}/slow-page")
        wait_for(follower, lambda: leaders([follower]) == [follower])
        live(follower)
        assert follower.evaluate("greys") == []
        assert watcher.changes(0.5) == []


def test_a_page_in_the_cache_holds_no_socket_and_comes_back_at_once(
    site, context, elsewhere, names
):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        (tab,) = tabs_of(context, site, names, 1)
        watcher.expect_change(me, "online")
        into_cache(tab, elsewhere)
        # After the grace, long before the TTL of who is only silent.
        watcher.expect_change(me, "offline", patience=4)
        out_of_cache(tab)
        watcher.expect_change(me, "online")
        live(tab)
        sees(tab, friend, online=True)
        assert tab.evaluate("sockets") == 2


@pytest.mark.slow
def test_a_leader_in_the_cache_hands_over(site, context, elsewhere, names):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        leader, follower = tabs_of(context, site, names, 2)
        watcher.expect_change(me, "online")
        into_cache(leader, elsewhere)
        wait_for(follower, lambda: leaders([follower]) == [follower])
        live(follower)
        assert follower.evaluate("greys") == []
        out_of_cache(leader)
        live(leader)
        sees(leader, friend, online=True)
        assert leaders([leader, follower]) == [leader, follower]  # one after the other
        assert leader.evaluate("sockets") == 1
        wait_for(follower, lambda: sockets_of(site, me) == 1)
        assert watcher.changes(0.5) == []


# Safari 15, React Native, insecure origins and hardened browsers, all in one.
OLD = """
    delete AbortSignal.timeout;
    delete URLSearchParams.prototype.set;
    delete Object.hasOwn;
    delete Array.prototype.at;
    delete Crypto.prototype.randomUUID;
    for (const name of ['AbortController', 'BroadcastChannel', 'Worker', 'Request',
                        'structuredClone', 'reportError', 'atob']) {
        delete globalThis[name];
    }
    Object.defineProperty(Navigator.prototype, 'locks', { get() {} });
"""
REFUSING = """
    LockManager.prototype.query = LockManager.prototype.request = async () => {
        throw new DOMException('', 'SecurityError');
    };
"""


@pytest.mark.parametrize("script", [OLD, REFUSING], ids=["missing", "refused"])
def test_it_works_without_what_is_new(site, context, names, script):
    me, friend = names
    context.add_init_script(script)
    tab = new_tab(context, site, me, page=PAGE)
    live(tab)
    with Client(site, friend).opened():
        sees(tab, friend, online=True)
    sees(tab, friend, online=False)
    tab.evaluate("client.leave()")
    wait_until(lambda: not site.is_online(me))


def lines_about(site, origin: str, web: int) -> list[str]:
    log = (site.folder / f"web{web}.log").read_text()
    return [line for line in log.splitlines() if f"origin '{origin}'" in line]


def test_a_refused_origin_is_told_and_not_tried_for_ever(site, context, names):
    """A browser says "CORS", and hides everything else from the page."""
    stranger = site.url(1)
    tab = context.new_page()
    tab.goto(stranger + PAGE)
    tab.evaluate(
        """async ({ url, token }) => {
            const { createPresenceClient } = await import('/static/greendot/index.js');
            window.errors = [];
            window.waits = [];
            const real = fetch;
            window.asked = 0;
            window.client = createPresenceClient({
                url, token, random: () => 0,
                fetch: (...given) => ((asked += 1), real(...given)),
                onError: ({ message }) => errors.push(message),
                onClose: (code, retryIn) => waits.push(retryIn),
            });
        }""",
        {"url": site.url(0), "token": site.token(names[0])},
    )
    tab.wait_for_function("waits.length === 3", timeout=20_000)
    assert tab.evaluate("waits") == [1_000, 2_000, 4_000]
    assert tab.evaluate("asked") == 5  # the first time with both status maps
    (error,) = tab.evaluate("errors")
    assert "PRESENCE_ALLOWED_ORIGINS" in error
    assert stranger in error
    # One of each browser, if they are a minute apart.
    lines = lines_about(site, stranger, 0)
    assert 1 <= len(lines) <= 2
    assert "PRESENCE_ALLOWED_ORIGINS" in lines[0]


def test_a_refused_cookie_is_final_and_says_why(site, context, names):
    stranger = site.url(1)
    context.add_cookies(
        [{"name": "presence_token", "value": site.token(names[0]), "url": site.url(0)}]
    )
    tab = context.new_page()
    tab.goto(stranger + PAGE)
    tab.evaluate(
        """async (url) => {
            const { createPresenceClient } = await import('/static/greendot/index.js');
            window.denied = [];
            window.sockets = 0;
            const Socket = WebSocket;
            createPresenceClient({
                url,
                WebSocket: class extends Socket {
                    constructor(...given) { super(...given); sockets += 1; }
                },
                onDenied: (code, reason) => denied.push([code, reason]),
            });
        }""",
        site.url(0),
    )
    tab.wait_for_function("denied.length === 1")
    ((code, reason),) = tab.evaluate("denied")
    assert code == 4403
    assert "PRESENCE_ALLOWED_ORIGINS" in reason
    tab.wait_for_timeout(1_000)
    assert tab.evaluate("[denied.length, sockets]") == [1, 1]
    assert lines_about(site, stranger, 0) != []


def test_the_demo_works(site, context, picture):
    """In Firefox as in Chromium, whose own tests look at all of it."""
    tab = context.new_page()
    context.add_cookies(
        [{"name": "presence_token", "value": site.token("ada"), "url": site.url()}]
    )
    with Client(site, "grace").opened():
        tab.goto(site.url() + "/one")
        online = "() => document.querySelector('#friends [data-user=grace]')"
        tab.wait_for_function(online + "?.dataset.presence === 'online'")
        picture(tab, f"demo-{type(tab).__name__}")
