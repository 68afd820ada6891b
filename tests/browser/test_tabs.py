"""All tabs of one browser share one socket, and none is the worse for it."""

from __future__ import annotations

import itertools
import time

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.test_client import live, sees, wait_for
from tests.clients import Client

CONNECT = """async ({ url, token, options }) => {
    const { createPresenceClient } = await import('/static/greendot/index.js');
    window.closes = [];
    window.denied = [];
    window.sockets = 0;
    window.client = createPresenceClient({
        url,
        token: options.lazy
            ? () => (window.hang?.() ? new Promise(() => {}) : (window.token ?? token))
            : token,
        ...options,
        onFrame: ({ event }) => (sockets += event === 'welcome' ? 1 : 0),
        onClose: (code) => closes.push(code),
        onDenied: (code) => denied.push(code),
    });
    window.store = client.store;
    window.isOnline = (id) => store.getState().isOnline(id);
}"""
numbers = itertools.count()


@pytest.fixture
def names(site):
    number = next(numbers)
    me, friend = f"tabs-{number}-me", f"tabs-{number}-friend"
    site.befriend(me, friend)
    return me, friend


@pytest.fixture
def context(open_tab) -> BrowserContext:
    return open_tab().context


def new_tab(
    context: BrowserContext,
    site,
    user: str,
    *,
    web: int = 0,
    page: str = "/healthz",
    **options: object,
) -> Page:
    tab = blank_tab(context, site, web=web, page=page)
    connect(tab, site, user, web=web, **options)
    return tab


def blank_tab(
    context: BrowserContext, site, *, web: int = 0, page: str = "/healthz"
) -> Page:
    """A page that has loaded the client and does not use it yet."""
    tab = context.new_page()
    tab.goto(site.url(web) + page)
    tab.evaluate("import('/static/greendot/index.js').then(() => null)")
    return tab


def connect(tab: Page, site, user: str, *, web: int = 0, **options: object) -> None:
    lifetime = options.pop("lifetime", 3600)
    token = site.token(user, lifetime)
    tab.evaluate(CONNECT, {"url": site.url(web), "token": token, "options": options})


def sockets_of(site, user: str) -> int:
    """Those that count: a closed one stays on the list for its grace."""
    now = time.time() * 1000
    in_grace = now + float(site.environ["PRESENCE_DISCONNECT_GRACE"]) * 1000
    return site.redis.zcount(f"user:{user}:connections", in_grace, "+inf")


def leaders(tabs: list[Page]) -> list[Page]:
    return [tab for tab in tabs if tab.evaluate("sockets") > 0]


@pytest.mark.slow
def test_fifty_tabs_use_one_socket_and_all_see_the_same(site, context, names):
    me, friend = names
    tabs = [new_tab(context, site, me) for _ in range(50)]
    for tab in tabs:
        live(tab)
    assert sockets_of(site, me) == 1
    with Client(site, friend).opened():
        for tab in tabs:
            sees(tab, friend, online=True)
    for tab in tabs:
        sees(tab, friend, online=False)
    assert len(leaders(tabs)) == 1


def test_the_next_tab_leads_when_the_leader_is_closed(site, context, names):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        tabs = [new_tab(context, site, me) for _ in range(3)]
        for tab in tabs:
            live(tab)
        watcher.expect_change(me, "online")
        (leader,) = leaders(tabs)
        rest = [tab for tab in tabs if tab != leader]
        leader.close()
        wait_for(rest[0], lambda: len(leaders(rest)) == 1)
        for tab in rest:
            live(tab)
            sees(tab, friend, online=True)
        assert watcher.changes(1.5) == []  # nobody noticed
        wait_for(rest[0], lambda: sockets_of(site, me) == 1)
    for tab in rest:
        sees(tab, friend, online=False)


@pytest.mark.slow
def test_a_new_leader_that_gets_no_token_shows_nobody_as_green(site, context, names):
    me, friend = names
    leader = new_tab(context, site, me)
    live(leader)
    tab = new_tab(context, site, me, lazy=True)
    with Client(site, friend).opened():
        sees(tab, friend, online=True)
        tab.wait_for_timeout(5_500)  # the token that it got at its start is old now
        # From its close on there are tokens again: the next try may come at once.
        tab.evaluate("window.hang = () => closes.length === 0")
        leader.close()
        sees(tab, friend, online=False)
        assert tab.evaluate("closes") == []  # it still waits for the token
        tab.wait_for_function("closes.length === 1", timeout=20_000)
        live(tab)
        sees(tab, friend, online=True)


def test_different_users_share_nothing(site, context, names):
    me, friend = names
    mine, theirs = new_tab(context, site, me), new_tab(context, site, friend)
    for tab in (mine, theirs):
        live(tab)
        assert tab.evaluate("sockets") == 1
    sees(mine, friend, online=True)
    sees(theirs, me, online=True)


@pytest.mark.parametrize("leaves", ["leader", "follower"])
def test_leaving_in_one_tab_leaves_in_all(site, context, names, leaves):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        tabs = [new_tab(context, site, me) for _ in range(3)]
        for tab in tabs:
            live(tab)
        watcher.expect_change(me, "online")
        is_leader = [tab.evaluate("sockets") > 0 for tab in tabs]
        tab = tabs[is_leader.index(leaves == "leader")]
        tab.evaluate("client.leave()")
        watcher.expect_change(me, "offline", patience=2)
        for tab in tabs:
            tab.wait_for_function("store.getState().connection === 'offline'")
            assert tab.evaluate("store.getState().stale") is True
        assert watcher.changes(1) == []  # and no other tab takes over
        tab.evaluate("client.connect()")
        live(tab)
        watcher.expect_change(me, "online")


@pytest.mark.parametrize("leaves", ["this tab", "another tab"])
def test_who_signs_in_after_leave_has_tabs_of_their_own(site, context, names, leaves):
    me, other = names
    tab, more = (new_tab(context, site, me, lazy=True) for _ in range(2))
    for page in (tab, more):
        live(page)
    (tab if leaves == "this tab" else more).evaluate("client.leave()")
    tab.wait_for_function("store.getState().connection === 'offline'")
    tab.evaluate("(token) => (window.token = token)", site.token(other))
    tab.evaluate("client.connect()")
    live(tab)
    mine = new_tab(context, site, me)
    live(mine)
    assert sockets_of(site, other) == sockets_of(site, me) == 1
    sees(mine, other, online=True)
    sees(tab, me, online=True)


def test_an_expired_token_ends_only_the_tab_that_has_it(site, context, names):
    me, friend = names
    # All pages are loaded before the token begins to run out.
    expiring, *rest = [blank_tab(context, site) for _ in range(3)]
    connect(expiring, site, me, lifetime=5)
    live(expiring)
    for tab in rest:
        connect(tab, site, me)
    for tab in rest:
        live(tab)
    assert leaders([expiring, *rest]) == [expiring]
    expiring.wait_for_function("denied.length === 1", timeout=12_000)
    wait_for(rest[0], lambda: len(leaders(rest)) == 1)
    for tab in rest:
        live(tab)
    with Client(site, friend).opened():
        for tab in rest:
            sees(tab, friend, online=True)
    assert [tab.evaluate("denied") for tab in rest] == [[], []]
    assert expiring.evaluate("[denied, store.getState().connection]") == [
        [4401],
        "offline",
    ]


def test_each_tab_with_an_expired_token_is_denied_by_itself(site, context, names):
    me, _ = names
    tabs = [blank_tab(context, site) for _ in range(2)]
    for tab in tabs:
        connect(tab, site, me, lifetime=5)
    for tab in tabs:
        live(tab)
    for tab in tabs:
        tab.wait_for_function("denied.length === 1", timeout=12_000)
    tabs[0].wait_for_timeout(1_000)
    assert [tab.evaluate("denied") for tab in tabs] == [[4401], [4401]]
    assert [tab.evaluate("closes") for tab in tabs] == [[4401], [4401]]
    assert sockets_of(site, me) == 0


def test_a_disconnect_by_the_host_is_for_all_tabs(site, context, names):
    me, _ = names
    tabs = [new_tab(context, site, me) for _ in range(2)]
    for tab in tabs:
        live(tab)
    site.admin("POST", f"/users/{me}/disconnect")
    for tab in tabs:
        tab.wait_for_function("denied.length === 1")
    tabs[0].wait_for_timeout(1_000)
    assert [tab.evaluate("denied") for tab in tabs] == [[4403], [4403]]
    assert sockets_of(site, me) == 0


@pytest.mark.slow
def test_a_frozen_leader_is_replaced(site, context, names):
    me, friend = names
    with Client(site, friend).opened():
        tabs = [new_tab(context, site, me) for _ in range(3)]
        for tab in tabs:
            live(tab)
            sees(tab, friend, online=True)
        (leader,) = leaders(tabs)
        rest = [tab for tab in tabs if tab != leader]
        # Busy for twelve seconds: no timer runs, no message is read.
        leader.evaluate("""() => setTimeout(() => {
            const end = Date.now() + 12000;
            while (Date.now() < end);
        }, 50)""")
        for tab in rest:
            tab.wait_for_function("store.getState().stale", timeout=3_000)
        wait_for(rest[0], lambda: len(leaders(rest)) == 1)
        for tab in rest:
            live(tab)
            sees(tab, friend, online=True)
        # The old leader wakes, and follows.
        wait_for(leader, lambda: sockets_of(site, me) == 1)
        live(leader, timeout=10_000)
        assert leader.evaluate("sockets") == 1


@pytest.mark.slow
def test_a_frozen_follower_disturbs_nobody(site, context, names):
    me, friend = names
    leader, follower = (new_tab(context, site, me) for _ in range(2))
    for tab in (leader, follower):
        live(tab)
    assert leaders([leader, follower]) == [leader]
    follower.evaluate("""() => new Promise((resolve) => setTimeout(() => {
        const end = Date.now() + 12000;
        while (Date.now() < end);
        setTimeout(resolve, 3000);  // whatever it has to say is said
    }, 50))""")
    assert leader.evaluate("[sockets, closes]") == [1, []]
    assert follower.evaluate("sockets") == 0
    live(follower)
    with Client(site, friend).opened():
        sees(follower, friend, online=True)


def test_without_locks_each_tab_has_its_own(site, context, names):
    me, friend = names
    context.add_init_script("Object.defineProperty(navigator, 'locks', {})")
    with Client(site, friend).opened():
        tabs = [new_tab(context, site, me) for _ in range(2)]
        for tab in tabs:
            live(tab)
            sees(tab, friend, online=True)
        assert sockets_of(site, me) == 2


def test_sharing_can_be_turned_off(site, context, names):
    tabs = [new_tab(context, site, names[0], share=False) for _ in range(2)]
    for tab in tabs:
        live(tab)
    assert sockets_of(site, names[0]) == 2
