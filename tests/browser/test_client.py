"""client.js in a real browser against a real server: what it makes of the order in
which news arrive, of close codes, and of a page that sleeps."""

from __future__ import annotations

import itertools
import signal
import time

import jwt
import pytest
from playwright.sync_api import Page

from tests.clients import Client
from tests.system import JWT_SECRET, wait_until

CONNECT = """async ({ url, token, chance }) => {
    const { createPresenceClient } = await import('/static/greendot/index.js');
    window.closes = [];
    window.frames = [];
    window.denied = [];
    window.client = createPresenceClient({
        url,
        token: token ?? (() => fetchToken()),
        random: chance === null ? Math.random : () => chance,
        onFrame: (frame, direction) => frames.push({ ...frame, direction }),
        onClose: (code, retryIn) => closes.push([code, retryIn]),
        onDenied: (code) => denied.push(code),
    });
    window.store = client.store;
    window.isOnline = (id) => store.getState().isOnline(id);
}"""
LIVE = "store.getState().connection === 'live' && !store.getState().stale"
OF = "((name) => ({ event }) => event === name)"
numbers = itertools.count()


@pytest.fixture
def names(site):
    """A user and a friend whom no other test knows."""
    number = next(numbers)
    me, friend = f"client-{number}-me", f"client-{number}-friend"
    site.befriend(me, friend)
    return me, friend


@pytest.fixture
def page(site, open_tab) -> Page:
    tab = open_tab(outage=True)
    tab.page.goto(site.url() + "/healthz")
    return tab.page


def connect(
    page: Page, site, user: str, lifetime: float = 3600, chance: float | None = None
) -> None:
    """`chance` in place of the jitter's random number: 100 makes every wait long."""
    token = site.token(user, lifetime)
    page.evaluate(CONNECT, {"url": site.url(), "token": token, "chance": chance})


def connect_anew(page: Page, site, tokens) -> list[str]:
    """With a function that fetches tokens: the next of `tokens`, and the last one for
    ever. Returns those that were fetched."""
    fetched = []

    def fetch() -> str:
        fetched.append(next(tokens, fetched[-1] if fetched else None))
        return fetched[-1]

    page.expose_function("fetchToken", fetch)
    page.evaluate(CONNECT, {"url": site.url(), "token": None, "chance": None})
    return fetched


def live(page: Page, timeout: float = 5_000) -> None:
    page.wait_for_function(LIVE, timeout=timeout)


def sees(page: Page, user: str, *, online: bool) -> None:
    condition = "([id, online]) => isOnline(id) === online"
    page.wait_for_function(condition, arg=[user, online])


def test_it_comes_live_and_hears_of_friends(site, page, names):
    me, friend = names
    connect(page, site, me)
    live(page)
    with Client(site, friend, web=1).opened():
        sees(page, friend, online=True)
    sees(page, friend, online=False)
    assert page.evaluate("(id) => store.getState().lastSeen[id]", friend) > 1.7e12


def test_it_beats_as_the_welcome_says(site, page, names):
    connect(page, site, names[0])
    live(page)
    page.wait_for_function(
        "frames.filter(({ event }) => event === 'heartbeat_ack').length >= 2"
    )
    time.sleep(site_ttl(site))
    assert page.evaluate("[closes, store.getState().connection]") == [[], "live"]


def site_ttl(site) -> float:
    return float(site.environ["PRESENCE_ONLINE_TTL"])


def test_a_late_rest_answer_puts_nothing_old_back(site, page, names):
    me, friend = names
    former = f"{me}-former"
    site.befriend(me, former)
    held = []

    def hold(route):
        held.append((route, route.fetch()))  # the friend is offline in it

    page.route("**/online-status*", hold)
    connect(page, site, me)
    live(page)
    wait_for(page, lambda: len(held) == 2)
    with Client(site, friend).opened():
        sees(page, friend, online=True)
        site.admin("DELETE", f"/friendships/{me}/{former}")
        page.wait_for_function("(id) => !(id in store.getState().statuses)", arg=former)
        for route, response in held:
            route.fulfill(response=response)
        page.wait_for_timeout(200)
        assert page.evaluate("store.getState().statuses") == {friend: True}


def test_rest_shows_green_before_the_socket_is_there(site, page, names):
    me, friend = names
    page.route_web_socket("**/ws*", lambda _socket: None)  # it never answers
    with Client(site, friend).opened():
        connect(page, site, me)
        sees(page, friend, online=True)
        assert page.evaluate("store.getState().connection") == "reconnecting"


def test_an_old_snapshot_gives_way_to_newer_news(site, page, names):
    me, friend = names
    late = []

    def between(socket):
        server = socket.connect_to_server()

        def from_server(message):
            if '"presence_snapshot"' in message and not late:
                late.append((socket, message))
            else:
                socket.send(message)

        server.on_message(from_server)

    page.route_web_socket("**/ws*", between)
    connect(page, site, me)
    wait_for(page, lambda: late)
    assert '"offline"' in late[0][1]
    with Client(site, friend).opened():
        page.wait_for_function("frames.some(({ data }) => data.status === 'online')")
        socket, message = late[0]
        socket.send(message)
        live(page)
        page.wait_for_timeout(100)
        assert page.evaluate("isOnline", friend) is True


def wait_for(page: Page, condition) -> None:
    """`wait_until`, while the browser's own events go on."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def test_a_former_friend_is_dropped_though_news_came_before(site, page, names):
    me, friend = names
    connect(page, site, me)
    live(page)
    with Client(site, friend).opened():
        sees(page, friend, online=True)
        site.admin("DELETE", f"/friendships/{me}/{friend}")
        page.wait_for_function("(id) => !(id in store.getState().statuses)", arg=friend)
        site.admin("PUT", f"/friendships/{me}/{friend}", {"status": "accepted"})
        sees(page, friend, online=True)


def test_a_bad_token_is_not_tried_again(site, page):
    arguments = {"url": site.url(), "token": "nonsense", "chance": None}
    page.evaluate(CONNECT, arguments)
    page.wait_for_function("denied.length === 1")
    page.wait_for_timeout(1_500)
    assert page.evaluate("[denied, closes, store.getState().connection]") == [
        [4401],
        [[4401, None]],
        "offline",
    ]


def test_nobody_stays_green_while_no_token_comes(site, page, names):
    """A planned reconnect keeps what is known, but not for as long as a token takes."""
    me, friend = names
    sockets = []

    def between(socket):
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket("**/ws*", between)
    page.evaluate(
        """(token) => (window.fetchToken = () =>
            window.hang?.() ? new Promise(() => {}) : token)""",
        site.token(me),
    )
    page.evaluate(CONNECT, {"url": site.url(), "token": None, "chance": None})
    live(page)
    with Client(site, friend).opened():
        sees(page, friend, online=True)
        # From its close on there are tokens again: the next try may come at once.
        page.evaluate("window.hang = () => closes.length === 0")
        sockets[0].send('{"event": "going_away", "data": {"reconnect_in": 0}}')
        page.wait_for_function("store.getState().connection === 'reconnecting'")
        sees(page, friend, online=False)
        assert page.evaluate("closes") == []  # it still waits for the token
        page.wait_for_function("closes.length === 1", timeout=20_000)
        live(page)
        sees(page, friend, online=True)


def test_an_expired_token_ends_in_4401_and_stays(site, page, names):
    connect(page, site, names[0], lifetime=8)  # a busy machine is slow to connect
    live(page, timeout=20_000)
    page.wait_for_function("denied.length === 1", timeout=30_000)
    page.wait_for_timeout(1_500)
    assert page.evaluate("[denied, closes]") == [[4401], [[4401, None]]]
    assert page.evaluate("store.getState().stale") is True


WELCOMES = "frames.filter(({ event }) => event === 'welcome').length"


def test_an_expiring_token_costs_no_reconnect(site, page, names):
    lifetimes = iter([5, 3600])
    fetched = connect_anew(page, site, (site.token(names[0], of) for of in lifetimes))
    live(page)
    page.wait_for_function("frames.some(({ event }) => event === 'token_refreshed')")
    expected = jwt.decode(fetched[-1], options={"verify_signature": False})["exp"]
    (refreshed,) = page.evaluate(f"frames.filter({OF}('token_refreshed'))")
    assert refreshed["data"] == {"expires_at": int(expected * 1000)}
    assert page.evaluate(f"frames.filter({OF}('refresh'))") == [
        {"event": "refresh", "data": {}, "direction": "out"}  # the token is not shown
    ]
    page.wait_for_timeout(6_500)
    live(page)
    assert page.evaluate(f"[denied, closes, {WELCOMES}]") == [[], [], 1]
    assert len(fetched) == 2


def test_one_token_is_enough_for_a_start(site, page, names):
    """For the id of the user, the statuses and the ticket."""
    fetched = connect_anew(page, site, iter([site.token(names[0])]))
    live(page)
    page.wait_for_timeout(500)
    assert len(fetched) == 1


def test_a_refresh_without_a_token_means_signed_out(site, page, names):
    fetched = connect_anew(page, site, iter([site.token(names[0], 30), None]))
    page.wait_for_function("denied.length === 1")
    assert page.evaluate(f"[denied, closes, {WELCOMES}]") == [[4401], [[4401, None]], 1]
    assert page.evaluate("store.getState().connection") == "offline"
    assert len(fetched) == 2
    wait_until(lambda: not site.is_online(names[0]))


def test_where_the_refresh_fails_the_token_is_fetched_anew_afterwards(
    site, page, names
):
    tokens = iter([3, None, 3600])

    def fetch():
        lifetime = next(tokens)
        if lifetime is None:
            raise ConnectionError
        return site.token(names[0], lifetime)

    page.expose_function("fetchToken", fetch)
    page.evaluate(CONNECT, {"url": site.url(), "token": None, "chance": None})
    live(page)
    page.wait_for_function("closes.length === 1", timeout=10_000)
    live(page)
    (closed,) = page.evaluate("closes")
    assert closed[0] == 4401
    assert 0 <= closed[1] <= 1_000  # an ordinary retry
    assert page.evaluate(f"[denied, {WELCOMES}]") == [[], 2]


def test_a_token_that_is_too_long_for_a_frame_is_not_sent(site, page, names):
    claims = {"sub": names[0], "padding": "x" * 4000}
    long = jwt.encode({**claims, "exp": time.time() + 3600}, JWT_SECRET)
    fetched = connect_anew(page, site, iter([site.token(names[0], 3), long]))
    live(page)
    page.wait_for_timeout(1_000)
    assert page.evaluate(f"frames.filter({OF}('refresh'))") == []
    assert fetched


def test_a_source_that_gives_no_better_token_is_denied(site, page, names):
    fetched = connect_anew(page, site, iter([site.token(names[0], 2)]))
    live(page)
    page.wait_for_function("denied.length === 1", timeout=10_000)
    page.wait_for_timeout(1_500)
    codes = page.evaluate("closes.map(([code, retryIn]) => [code, retryIn === null])")
    assert codes == [[4401, False], [4401, True]]
    assert page.evaluate("[denied, store.getState().connection]") == [[4401], "offline"]
    # To connect, to refresh at least once, and after the close.
    assert 3 <= len(fetched) <= 7


def test_a_revoked_user_is_denied_where_there_is_no_newer_token(site, page, names):
    token = site.token(names[0])
    connect_anew(page, site, iter([token]))
    live(page)
    site.admin("POST", f"/users/{names[0]}/revoke")
    page.wait_for_function("denied.length === 1")
    page.wait_for_timeout(1_500)
    assert page.evaluate("[denied, store.getState().connection]") == [[4401], "offline"]


def test_a_cookie_that_was_set_anew_is_enough(site, page, names):
    sign_in(page, site, names[0], web=0, lifetime=2)
    page.evaluate(ELSEWHERE, site.url())
    live(page)
    sign_in(page, site, names[0], web=0)
    page.wait_for_function("closes.length === 1", timeout=10_000)
    live(page)
    assert page.evaluate("[denied, closes]") == [[], [4401]]


def test_a_disconnect_by_the_host_is_not_tried_again(site, page, names):
    connect(page, site, names[0])
    live(page)
    site.admin("POST", f"/users/{names[0]}/disconnect")
    page.wait_for_function("denied.length === 1")
    page.wait_for_timeout(1_500)
    assert page.evaluate("[denied, closes]") == [[4403], [[4403, None]]]


FLOOD = """() => {
    const heartbeat = JSON.stringify({ event: 'heartbeat', data: {} });
    for (let sent = 0; sent < 200; sent += 1) opened[0].send(heartbeat);
}"""
"""In one go: no frame is sent on a socket that the server has closed meanwhile."""
RECORD = """() => {
    window.opened = [];
    const Socket = WebSocket;
    window.WebSocket = class extends Socket {
        constructor(...args) {
            super(...args);
            opened.push(this);
        }
    };
}"""


def test_too_many_frames_end_in_4429_and_a_return(site, page, names):
    page.evaluate(RECORD)
    connect(page, site, names[0])
    live(page)
    page.evaluate(FLOOD)
    page.wait_for_function("closes.length === 1")
    code, retry_in = page.evaluate("closes[0]")
    assert code == 4429
    assert 2_500 <= retry_in <= 5_000
    live(page, timeout=8_000)


def test_leave_is_heard_at_once_and_connect_comes_back(site, page, names):
    me, friend = names
    with Client(site, friend).opened() as watcher:
        connect(page, site, me)
        watcher.expect_change(me, "online")
        live(page)
        page.evaluate("client.leave()")
        left = watcher.expect_change(me, "offline", patience=2)
        assert page.evaluate("[closes, store.getState().connection]") == [[], "offline"]
        assert page.evaluate("frames.at(-1)") == {
            "event": "leave",
            "data": {},
            "direction": "out",
        }
        assert page.evaluate("isOnline", friend) is False
        page.evaluate("client.connect()")
        back = watcher.expect_change(me, "online")
        assert back["timestamp"] > left["timestamp"]
        live(page)
        assert page.evaluate("isOnline", friend) is True


ELSEWHERE = """async (url) => {
    const { createPresenceClient } = await import('/static/greendot/index.js');
    window.denied = [];
    window.closes = [];
    window.client = createPresenceClient({
        url,
        hydrate: false,
        onDenied: (code) => denied.push(code),
        onClose: (code) => closes.push(code),
    });
    window.store = client.store;
}"""


def sign_in(page: Page, site, user: str, web: int, lifetime: float = 3600) -> None:
    """With the cookie, which a host's pages share whatever their port is."""
    token = site.token(user, lifetime)
    page.context.add_cookies(
        [{"name": "presence_token", "value": token, "url": site.url(web)}]
    )


def test_a_server_of_another_origin_by_token(site, page, names):
    me, friend = names
    arguments = {"url": site.url(1), "token": site.token(me), "chance": None}
    page.evaluate(CONNECT, arguments)
    live(page)
    with Client(site, friend).opened():
        sees(page, friend, online=True)
    page.wait_for_function("frames.some(({ event }) => event === 'heartbeat_ack')")


def test_a_server_of_another_origin_by_cookie(site, page, names):
    sign_in(page, site, names[0], web=1)
    page.evaluate(ELSEWHERE, site.url(1))
    live(page)


def test_a_page_that_may_not_use_the_cookie_is_denied(site, page, names):
    sign_in(page, site, names[0], web=0)
    page.goto(site.url(1) + "/healthz")
    page.evaluate(ELSEWHERE, site.url(0))
    page.wait_for_function("denied.length === 1")
    page.wait_for_timeout(1_000)
    assert page.evaluate("denied") == [4403]


def test_a_page_without_network_says_so_and_recovers_at_once(site, page, names):
    connect(page, site, names[0], chance=100)
    live(page)
    page.context.set_offline(True)
    page.wait_for_function("store.getState().connection === 'offline'")
    assert page.evaluate("store.getState().stale") is True
    page.wait_for_timeout(3_000)
    page.context.set_offline(False)
    live(page, timeout=1_500)


@pytest.mark.parametrize(
    "reason",
    [
        "dispatchEvent(new Event('online'))",
        "dispatchEvent(new Event('pageshow'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
        "client.retryNow()",
    ],
)
def test_there_is_no_waiting_where_there_is_reason_to_try(site, page, names, reason):
    page.route("**/ws-ticket", lambda route: route.abort())
    connect(page, site, names[0], chance=100)
    page.wait_for_function("closes.length === 1")
    page.unroute("**/ws-ticket")
    page.wait_for_timeout(300)
    assert page.evaluate("closes.length") == 1
    page.evaluate(reason)
    live(page)


def test_the_word_of_the_network_is_checked(site, page, names):
    """A computer without "the network" may well reach a server on itself."""
    connect(page, site, names[0])
    live(page)
    stale = "(dispatchEvent(new Event('offline')), store.getState().stale)"
    assert page.evaluate(stale) is True
    live(page, timeout=1_000)
    assert page.evaluate("closes") == []


@pytest.mark.slow
def test_it_wakes_with_the_machine(site, own_browser, names):
    """The whole browser stands still for longer than the TTL, as in a closed laptop."""
    me, friend = names
    page = own_browser.browser.new_page()
    page.goto(site.url() + "/healthz")
    connect(page, site, me)
    live(page)
    page.evaluate("""async () => {
        const { watchPage } = await import('/static/greendot/page.js');
        window.wakes = [];
        watchPage({ onWake: (slept) => wakes.push(slept), onOffline() {} });
    }""")
    own_browser.signal(signal.SIGSTOP)
    wait_until(lambda: not site.is_online(me), patience=15)
    with Client(site, friend).opened():
        time.sleep(6)
        own_browser.signal(signal.SIGCONT)
        woken = time.monotonic()
        page.wait_for_function("closes.length > 0")
        live(page)
        assert time.monotonic() - woken < 3
        page.wait_for_function("wakes.some((slept) => slept > 5000)", timeout=1_000)
        assert page.evaluate("isOnline", friend) is True
