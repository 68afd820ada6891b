"""More than on and off, from browser to browser: details in the store, idleness, and
one's own settings."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.browser.conftest import second_origin
from tests.browser.test_client import RECORD, live, sees, wait_for
from tests.browser.test_tabs import leaders
from tests.clients import Client

CONNECT = """async ({ url, token, options }) => {
    const { createPresenceClient } = await import('/static/greendot/index.js');
    window.sockets = 0;
    window.frames = [];
    window.client = createPresenceClient({
        url,
        token,
        ...options,
        onFrame({ event, data }, direction) {
            sockets += event === 'welcome' ? 1 : 0;
            frames.push({ event, data, direction });
        },
    });
    window.store = client.store;
    window.isOnline = (id) => store.getState().isOnline(id);
    window.detailOf = (id) => store.getState().detailOf(id);
    window.reports = () => frames.filter(({ event }) => event === 'activity')
        .map(({ data }) => data.idle);
}"""
numbers = itertools.count()


@pytest.fixture(scope="module")
def hasty(site):
    """The number of a gateway that counts a person as idle after a second. At the other
    ones nobody becomes idle during a test."""
    with site.another_web(PRESENCE_IDLE_AFTER="1") as web:
        yield web


@pytest.fixture
def names(site):
    return names_on(site)


def names_on(site) -> tuple[str, str]:
    number = next(numbers)
    me, friend = f"detail-{number}-me", f"detail-{number}-friend"
    site.befriend(me, friend)
    return me, friend


@pytest.fixture
def context(open_tab):
    return open_tab().context


def new_tab(
    context, site, user: str, *, web: int = 0, url: str | None = None, **options: object
):
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    tab.goto(site.url(web) + "/healthz")
    arguments = {
        "url": url or site.url(web),
        "token": site.token(user),
        "options": options,
    }
    tab.evaluate(CONNECT, arguments)
    live(tab)
    return tab


IDLE = "reports().at(-1) === true"
A_MINUTE_AND_MORE = 90_000
"""Milliseconds. If a tab opens too late, the next report comes a minute later."""


def two_tabs(context, site, user: str, web: int):
    """Two tabs of an idle user: the leader and the follower. A new tab means that the
    person is there, so both connect at about the same time."""
    tabs = [context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(site.url(web) + "/healthz")
    for tab in tabs:
        arguments = {"url": site.url(web), "token": site.token(user), "options": {}}
        tab.evaluate(CONNECT, arguments)
    for tab in tabs:
        live(tab)
    (leader,) = leaders(tabs)
    (follower,) = (tab for tab in tabs if tab != leader)
    leader.wait_for_function(IDLE, timeout=A_MINUTE_AND_MORE)
    return leader, follower


def watch(site, friend: str) -> Client:
    return Client(site, friend, query="?detail=1").opened()


def settings(site, user: str, changes: dict, status: int = 200) -> dict:
    """Change the settings of a user, as another device of that user."""
    path, token = "/api/me/presence", site.token(user)
    found, answer = site.request("PATCH", path, changes, token=token)
    assert found == status, answer
    return answer


def expect_availability(watcher: Client, user: str, availability: str) -> dict:
    """The next detail that is new: it has this availability, and is no change of
    status."""
    while True:
        frame = watcher.receive()
        assert frame["event"] != "friend_status_changed", frame
        if frame["event"] == "friend_detail_changed":
            assert frame["data"]["user_id"] == user
            assert frame["data"]["detail"]["availability"] == availability
            return frame["data"]


def shows(tab, user: str, availability: str | None) -> None:
    tab.wait_for_function(
        "([id, wanted]) => (detailOf(id)?.availability ?? null) === wanted",
        arg=[user, availability],
    )


# --- Idle


def test_friends_see_that_somebody_has_left_the_desk(site, hasty, context, names):
    me, friend = names
    with watch(site, friend) as watcher:
        tab = new_tab(context, site, me, web=hasty)
        watcher.expect_change(me, "online")
        expect_availability(watcher, me, "away")
        tab.mouse.move(20, 30)
        expect_availability(watcher, me, "active")
        assert tab.evaluate("reports()") == [True, False]


def test_input_in_any_tab_ends_idleness(site, hasty, context, names):
    me, friend = names
    with watch(site, friend) as watcher:
        leader, follower = two_tabs(context, site, me, hasty)
        expect_availability_at_last(watcher, me, "away")
        follower.keyboard.press("a")
        expect_availability_at_last(watcher, me, "active")
        assert leader.evaluate("reports().at(-1)") is False
        assert follower.evaluate("reports()") == []


def expect_availability_at_last(watcher: Client, user: str, availability: str) -> None:
    while True:
        data = watcher.receive()["data"]
        detail = data.get("detail") or {}
        if data.get("user_id") == user and detail.get("availability") == availability:
            return


def test_the_tab_that_takes_over_says_that_the_user_is_idle(
    site, hasty, context, names
):
    me, _ = names
    leader, follower = two_tabs(context, site, me, hasty)
    leader.close()
    follower.wait_for_function("reports()[0] === true")


def test_what_the_application_says_counts_in_the_next_leader_too(site, context):
    me, _ = names_on(site)
    tabs = [new_tab(context, site, me) for _ in range(2)]
    (leader,) = leaders(tabs)
    (follower,) = (tab for tab in tabs if tab != leader)
    follower.evaluate("client.setIdle(true)")
    leader.wait_for_function(IDLE)
    late = new_tab(context, site, me)
    rest = [follower, late]
    leader.close()
    wait_for(late, lambda: len(leaders(rest)) == 1)
    (next_leader,) = leaders(rest)
    next_leader.wait_for_function(IDLE)
    (last,) = (tab for tab in rest if tab != next_leader)
    next_leader.close()
    last.wait_for_function(IDLE)


def test_a_new_connection_of_an_idle_user_is_idle(site, hasty, context, names):
    me, friend = names
    tab = context.new_page()
    tab.goto(site.url(hasty) + "/healthz")
    tab.evaluate(RECORD)
    arguments = {"url": site.url(hasty), "token": site.token(me), "options": {}}
    tab.evaluate(CONNECT, arguments)
    tab.wait_for_function("reports().length === 1")
    tab.evaluate("opened[0].close(4000)")
    tab.wait_for_function("sockets === 2 && reports().length === 2")
    assert tab.evaluate("reports()") == [True, True]
    live(tab)
    with watch(site, friend) as watcher:
        snapshot = watcher.seen[-1]["data"]["statuses"][me]
        assert snapshot["status"] == "online"
        if snapshot["detail"]["availability"] != "away":
            expect_availability(watcher, me, "away")


def test_idleness_is_said_once_a_minute_and_a_return_at_once(
    site, hasty, context, names
):
    """The page's clock is moved, and that of the server stays."""
    tab = new_tab(context, site, names[0], web=hasty, share=False)
    tab.wait_for_function("reports().length === 1")
    tab.keyboard.press("a")
    tab.wait_for_function("reports().length === 2")
    assert tab.evaluate("""() => {
        const real = Date.now;
        const seen = [];
        const say = (idle) => seen.push((client.setIdle(idle), reports().length));
        say(true);
        say(false);
        Date.now = () => real() + 30_000;
        say(true);
        Date.now = () => real() + 61_000;
        say(true);
        say(false);
        Date.now = real;
        return seen;
    }""") == [2, 2, 2, 3, 4]
    assert tab.evaluate("reports()") == [True, False, True, False]


def test_detection_can_be_turned_off(site, hasty, context, names):
    me, friend = names
    with watch(site, friend) as watcher:
        detecting = new_tab(context, site, me, web=hasty, share=False)
        watcher.expect_change(me, "online")
        tab = new_tab(context, site, me, web=hasty, share=False, idle=False)
        detecting.wait_for_function("reports().length === 1")
        # The second tab has no input either, but is not idle: the user is not away.
        tab.evaluate("client.setIdle(true)")
        expect_availability(watcher, me, "away")
        assert tab.evaluate("reports()") == [True]
        tab.evaluate("client.setIdle(false)")
        expect_availability(watcher, me, "active")


def test_a_client_without_details_gets_the_plain_frames(site, hasty, context, names):
    me, friend = names
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    tab = new_tab(context, site, me, web=hasty, detail=False)
    with watch(site, friend):
        sees(tab, friend, online=True)
        tab.evaluate("client.setIdle(true)")
        settings(site, friend, {"availability": "dnd"})
        tab.wait_for_function(
            "frames.filter(({ event }) => event === 'heartbeat_ack').length > 1"
        )
    sees(tab, friend, online=False)
    frames = tab.evaluate("frames")
    assert not [frame for frame in frames if frame["event"] == "activity"]
    assert "idle_after" not in frames[0]["data"]
    assert "detail" not in str([frame["data"] for frame in frames[1:]]).replace(
        friend, ""
    ).replace(me, "")
    assert tab.evaluate("store.getState().details") == {}
    assert requests
    assert not [url for url in requests if "detail=" in url]


# --- Details of friends


def test_a_friend_changes_without_leaving(site, context):
    me, friend = names_on(site)
    tab = new_tab(context, site, me)
    shows(tab, friend, None)
    with watch(site, friend):
        shows(tab, friend, "active")
        tab.evaluate(
            """(id) => {
            window.offline = 0;
            store.subscribe(({ statuses }) => (offline += statuses[id] ? 0 : 1));
        }""",
            friend,
        )
        changes = {"availability": "dnd", "text": "Compiling", "emoji": "🧮"}
        settings(site, friend, changes)
        shows(tab, friend, "dnd")
        detail = tab.evaluate("detailOf", friend)
        assert {name: detail[name] for name in changes} == changes
        settings(site, friend, {"availability": None})
        shows(tab, friend, "active")
        assert tab.evaluate("detailOf", friend)["text"] == "Compiling"
        assert tab.evaluate("offline") == 0
    shows(tab, friend, None)
    assert tab.evaluate("(id) => store.getState().details[id]", friend) is None


def test_a_detail_ends_by_itself(site, context):
    me, friend = names_on(site)
    tab = new_tab(context, site, me)
    with watch(site, friend):
        ends = int(time.time() * 1000) + 3_000
        settings(site, friend, {"availability": "away", "expires_at": ends})
        shows(tab, friend, "away")
        assert tab.evaluate("detailOf", friend)["expires_at"] == ends
        shows(tab, friend, "active")


def test_rest_shows_details_before_the_socket_is_there(site, open_tab):
    me, friend = names_on(site)
    settings(site, friend, {"availability": "dnd"})
    page = open_tab(outage=True).page
    page.goto(site.url() + "/healthz")
    page.route_web_socket("**/ws*", lambda _socket: None)  # it never answers
    with watch(site, friend):
        arguments = {"url": site.url(), "token": site.token(me), "options": {}}
        page.evaluate(CONNECT, arguments)
        shows(page, friend, "dnd")
        assert page.evaluate("store.getState().connection") == "reconnecting"


def test_all_tabs_see_the_details(site, context):
    me, friend = names_on(site)
    tabs = [new_tab(context, site, me) for _ in range(2)]
    with watch(site, friend):
        settings(site, friend, {"availability": "dnd"})
        late = new_tab(context, site, me)
        for tab in [*tabs, late]:
            shows(tab, friend, "dnd")
        assert len(leaders([*tabs, late])) == 1
        settings(site, friend, {"availability": "away"})
        for tab in [*tabs, late]:
            shows(tab, friend, "away")


# --- One's own settings


MINE = "store.getState().myPresence"


def mine_is(tab, name: str, value: object) -> None:
    tab.wait_for_function(
        f"([name, value]) => {MINE} !== null && {MINE}[name] === value",
        arg=[name, value],
    )


def test_settings_are_read_and_written(site, context):
    me, friend = names_on(site)
    tab = new_tab(context, site, me)
    assert tab.evaluate(MINE) is None
    assert tab.evaluate("client.loadMyPresence()") == tab.evaluate(MINE)
    assert tab.evaluate(MINE)["visibility"] == "everyone"
    with watch(site, friend) as watcher:
        changed = tab.evaluate("client.changeMyPresence({ availability: 'dnd' })")
        assert changed["availability"] == "dnd"
        expect_availability(watcher, me, "dnd")
        mine_is(tab, "availability", "dnd")


def test_all_devices_and_tabs_follow_a_change(site, open_tab):
    me, _ = names_on(site)
    laptop, phone = open_tab().context, open_tab().context
    tabs = [new_tab(laptop, site, me) for _ in range(2)]
    other = new_tab(phone, site, me)
    (leader,) = leaders(tabs)
    (follower,) = (tab for tab in tabs if tab != leader)
    follower.evaluate("client.loadMyPresence()")
    mine_is(leader, "text", None)  # one tab has read them for all
    other.evaluate("client.changeMyPresence({ text: 'lunch' })")
    for tab in (leader, follower, other):
        mine_is(tab, "text", "lunch")
    follower.evaluate("client.changeMyPresence({ text: 'tea' })")
    for tab in (leader, follower, other):
        mine_is(tab, "text", "tea")
    late = new_tab(laptop, site, me)
    mine_is(late, "text", "tea")


def test_a_change_that_was_missed_is_read_after_the_outage(site, open_tab):
    me, _ = names_on(site)
    tab = open_tab(outage=True)
    page = tab.page
    page.goto(site.url() + "/healthz")
    page.evaluate(RECORD)
    arguments = {"url": site.url(), "token": site.token(me), "options": {}}
    page.evaluate(CONNECT, arguments)
    live(page)
    page.evaluate("client.loadMyPresence()")
    page.route("**/ws-ticket", lambda route: route.abort())
    page.evaluate("opened[0].close(4000)")
    page.wait_for_function("store.getState().connection === 'reconnecting'")
    settings(site, me, {"text": "lunch"})
    assert page.evaluate(MINE)["text"] is None
    page.unroute("**/ws-ticket")
    mine_is(page, "text", "lunch")


def test_a_late_answer_does_not_undo_a_newer_event(site, context):
    me, _ = names_on(site)
    tab = new_tab(context, site, me)
    tab.evaluate("client.loadMyPresence()")
    held = []
    tab.route("**/api/me/presence", lambda route: held.append((route, route.fetch())))
    tab.evaluate("void client.changeMyPresence({ text: 'old' })")
    wait_for(tab, lambda: held)
    settings(site, me, {"text": "new"})
    mine_is(tab, "text", "new")
    route, response = held[0]
    with tab.expect_response("**/api/me/presence"):
        route.fulfill(response=response)
    tab.unroute("**/api/me/presence")
    tab.evaluate("client.loadMyPresence()")
    assert tab.evaluate(MINE)["text"] == "new"


REFUSED = """(changes) => client.changeMyPresence(changes).then(() => null,
    ({ name, status, code, message }) => ({ name, status, code, message }))"""


def test_a_refusal_comes_back_to_the_caller(site, context):
    me, _ = names_on(site)
    tab = new_tab(context, site, me)
    tab.evaluate("client.loadMyPresence()")
    before = tab.evaluate(MINE)
    console = []
    tab.on("pageerror", lambda error: console.append(str(error)))
    error = tab.evaluate(REFUSED, {"text": "two\nlines"})
    assert (error["name"], error["status"]) == ("PresenceHttpError", 400)
    assert error["code"] == "bad_request"
    assert "text" in error["message"]
    assert tab.evaluate(MINE) == before
    assert tab.evaluate(REFUSED, {"text": "one line"}) is None
    mine_is(tab, "text", "one line")
    assert console == []


def test_a_server_of_another_origin_takes_changes_too(site, open_tab):
    me, _ = names_on(site)
    assert second_origin(site)
    context = open_tab().context
    tab = new_tab(context, site, me, url=site.url(1))
    tab.evaluate("client.changeMyPresence({ text: 'from afar' })")
    mine_is(tab, "text", "from afar")


def test_the_settings_of_a_user_who_left_are_forgotten(site, context):
    me, _ = names_on(site)
    tabs = [new_tab(context, site, me) for _ in range(2)]
    tabs[0].evaluate("client.loadMyPresence()")
    for tab in tabs:
        mine_is(tab, "visibility", "everyone")
    tabs[1].evaluate("client.leave()")
    for tab in tabs:
        tab.wait_for_function(f"{MINE} === null")
