"""The Python client's presence, against the real server."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from config import PROJECT_ROOT
from greendot_client import ApiError
from greendot_client import presence as presence_module
from tests import loops
from tests.clients import Client
from tests.docs.pages import Page
from tests.system import wait_until

pytestmark = pytest.mark.e2e

numbers = itertools.count()
FOLDER = PROJECT_ROOT / "clients" / "python"
ENVIRON = {**os.environ, "PYTHONPATH": str(FOLDER / "src")}


@pytest.fixture(scope="module")
def greendot():
    return presence_module


@pytest.fixture
def names(system):
    number = next(numbers)
    me, friend = f"python-{number}-me", f"python-{number}-friend"
    system.befriend(me, friend)
    return me, friend


def test_it_sees_friends_come_and_go(system, greendot, names):
    me, friend = names
    with greendot.Presence(system.url(), system.token(me)) as presence:
        assert presence.online == set()
        with Client(system, friend, web=1).opened():
            wait_until(lambda: presence.is_online(friend))
            assert system.is_online(me)
            changes = presence.changes(timeout=10)
        assert next(changes).online is False
        assert not presence.is_online(friend)


def test_asyncio_with_a_token_function(system, greendot, names):
    me, friend = names

    async def fresh_token():
        return system.token(me)

    async def watch():
        async with greendot.AsyncPresence(system.url(), fresh_token) as presence:
            await presence.ready()
            changes = presence.changes()
            with Client(system, friend):
                change = await asyncio.wait_for(anext(changes), 10)
            await changes.aclose()
            await presence.leave()
            return change

    change = loops.run(watch())
    assert (change.user_id, change.online) == (friend, True)
    wait_until(lambda: not system.is_online(me), patience=2)


def test_it_stays_online_by_its_heartbeats(system, greendot, names):
    me, _ = names
    with greendot.Presence(system.url(), system.token(me)) as presence:
        time.sleep(float(system.environ["PRESENCE_ONLINE_TTL"]) + 1)
        assert system.is_online(me)
        assert not presence.stale


def test_last_seen_is_what_the_last_snapshot_says(greendot):
    presence = greendot.AsyncPresence("http://nowhere.invalid", "token")
    event = {"user_id": "never", "status": "offline", "timestamp": 0}
    presence._handle("friend_status_changed", event)
    event = {"user_id": "expired", "status": "offline", "timestamp": 300}
    presence._handle("friend_status_changed", event)
    assert presence.last_seen == {"expired": 300}
    entry = {"status": "offline", "timestamp": 300, "last_seen": 240}
    never = {"status": "offline", "timestamp": 0, "last_seen": None}
    statuses = {"expired": entry, "never": never}
    presence._handle("presence_snapshot", {"statuses": statuses})
    assert presence.last_seen == {"expired": 240}


ACTIVE = {
    "availability": "active",
    "text": None,
    "emoji": None,
    "expires_at": None,
    "since": 100,
}


def detail_event(user_id, timestamp, **fields):
    detail = {**ACTIVE, **fields}
    return {"user_id": user_id, "timestamp": timestamp, "detail": detail}


def status_event(user_id, status, timestamp):
    detail = ACTIVE if status == "online" else None
    data = {"user_id": user_id, "status": status, "timestamp": timestamp}
    return {**data, "detail": detail}


@pytest.fixture
def offline_client(greendot):
    """A client with details that is fed by hand, and the changes that it reports."""
    presence = greendot.AsyncPresence("http://nowhere.invalid", "token", detail=True)
    changes = []
    presence.listen(changes.append)
    statuses = {"ann": {"status": "online", "timestamp": 100, "last_seen": 90}}
    statuses["ann"]["detail"] = ACTIVE
    presence._handle("presence_snapshot", {"statuses": statuses})
    changes.clear()
    return presence, changes


def test_it_sees_how_friends_are_online(system, greendot, names):
    me, friend = names
    path = "/api/me/presence"
    token = system.token(friend)
    with (
        greendot.Presence(system.url(), system.token(me), detail=True) as presence,
        greendot.Presence(system.url(), system.token(me)) as plain,
    ):
        assert presence.details == {friend: None}
        changes, plain_changes = presence.changes(10), plain.changes(10)
        with Client(system, friend, web=1).opened():
            online = next(changes)
            assert (online.online, online.detail_only) == (True, False)
            assert online.detail.availability == "active"
            body = {"availability": "dnd", "text": "On a call", "emoji": "📞"}
            assert system.request("PATCH", path, body, token=token)[0] == 200
            change = next(changes)
            assert (change.online, change.detail_only) == (True, True)
            detail = change.detail
            assert (detail.availability, detail.text, detail.emoji) == tuple(
                body.values()
            )
            assert change.timestamp > online.timestamp
            assert detail == presence.detail_of(friend) == presence.details[friend]
        change = next(changes)
        assert (change.online, change.detail, change.detail_only) == (
            False,
            None,
            False,
        )
        assert presence.details == {friend: None}
        # A client that does not ask for details reports what it always has.
        seen = [next(plain_changes), next(plain_changes)]
        assert seen == [
            greendot.Change(friend, online=True, timestamp=online.timestamp),
            greendot.Change(friend, online=False, timestamp=change.timestamp),
        ]
        assert plain.details == {}


def test_the_newest_timestamp_wins_for_status_and_detail(offline_client):
    presence, changes = offline_client
    presence._handle("friend_detail_changed", detail_event("ann", 300, text="new"))
    presence._handle("friend_detail_changed", detail_event("ann", 200, text="old"))
    presence._handle("friend_detail_changed", detail_event("ann", 300, text="same"))
    presence._handle("friend_status_changed", status_event("ann", "offline", 250))
    assert presence.is_online("ann")
    assert presence.detail_of("ann").text == "new"
    assert [(one.timestamp, one.detail_only) for one in changes] == [(300, True)]
    assert presence.last_seen == {"ann": 90}
    presence._handle("friend_status_changed", status_event("ann", "offline", 400))
    presence._handle("friend_status_changed", status_event("ann", "online", 500))
    presence._handle("friend_detail_changed", detail_event("ann", 450, text="late"))
    assert presence.detail_of("ann").text is None


def test_a_detail_never_makes_anybody_online(offline_client):
    presence, changes = offline_client
    presence._handle("friend_status_changed", status_event("ann", "offline", 200))
    changes.clear()
    presence._handle("friend_detail_changed", detail_event("ann", 300))
    presence._handle("friend_detail_changed", detail_event("stranger", 300))
    assert (presence.online, presence.details) == (set(), {"ann": None})
    assert changes == []
    # Its timestamp does not count either.
    presence._handle("friend_status_changed", status_event("ann", "online", 250))
    assert presence.is_online("ann")


def test_a_snapshot_replaces_all_details(offline_client):
    presence, changes = offline_client
    presence._handle("friend_detail_changed", detail_event("ann", 300, text="new"))
    changes.clear()
    entry = {"status": "online", "timestamp": 100, "last_seen": 90}
    away = {**ACTIVE, "availability": "away", "field of a later version": 1}
    statuses = {"ann": {**entry, "detail": away}, "bob": {**entry, "detail": ACTIVE}}
    presence._handle("presence_snapshot", {"statuses": statuses})
    assert presence.detail_of("ann").availability == "away"
    assert [(one.user_id, one.detail_only) for one in changes] == [
        ("ann", True),
        ("bob", False),
    ]
    presence._handle("presence_snapshot", {"statuses": {}})
    assert presence.details == {}


def test_what_is_the_same_is_no_change(greendot, offline_client):
    with_detail, changes = offline_client
    plain = greendot.AsyncPresence("http://nowhere.invalid", "token")
    plain.listen(changes.append)
    plain._handle("friend_status_changed", status_event("ann", "online", 100))
    changes.clear()
    plain._handle("friend_detail_changed", detail_event("ann", 200, text="new"))
    for presence in (with_detail, plain):
        event = status_event("ann", "online", 300)
        presence._handle("friend_status_changed", event)
        statuses = {"ann": {**event, "last_seen": 90}}
        presence._handle("presence_snapshot", {"statuses": statuses})
    assert changes == []
    assert plain.details == {}


def test_no_detail_is_shown_while_stale(offline_client):
    presence, _ = offline_client
    assert presence.detail_of("ann") is not None
    presence._mark_stale()
    assert presence.detail_of("ann") is None


def cut(presence):
    """End the present connection as a lost network does."""
    socket = presence._presence._socket
    presence._loop.call_soon_threadsafe(socket.transport.abort)


def availability(presence, user_id):
    detail = presence.detail_of(user_id)
    return detail and detail.availability


def test_idleness_is_told_again_after_a_reconnect(system, greendot, names):
    me, friend = names
    with (
        greendot.Presence(system.url(1), system.token(friend), detail=True) as watcher,
        greendot.Presence(system.url(), system.token(me)) as presence,
    ):
        presence.set_idle(True)
        wait_until(lambda: availability(watcher, me) == "away")
        before = watcher.detail_of(me).since
        cut(presence)

        def is_away_again():
            detail = watcher.detail_of(me)
            return detail and detail.availability == "away" and detail.since > before

        wait_until(is_away_again)
        presence.set_idle(False)
        wait_until(lambda: availability(watcher, me) == "active")


def test_the_server_says_when_a_person_is_idle(system, greendot, names):
    me, friend = names

    async def idle_after(user_id, **options):
        url, token = system.url(), system.token(user_id)
        async with greendot.AsyncPresence(url, token, **options) as presence:
            await presence.ready()
            return presence.idle_after

    assert loops.run(idle_after(me, detail=True)) == 300
    assert loops.run(idle_after(friend)) is None


def test_what_is_said_too_early_is_said_later(system, greendot, names, monkeypatch):
    monkeypatch.setattr(greendot, "IDLE_INTERVAL", 1.0)
    me, friend = names
    with (
        greendot.Presence(system.url(1), system.token(friend), detail=True) as watcher,
        greendot.Presence(system.url(), system.token(me)) as presence,
    ):
        presence.set_idle(True)
        wait_until(lambda: availability(watcher, me) == "away")
        presence.set_idle(False)
        wait_until(lambda: availability(watcher, me) == "active")
        presence.set_idle(True)
        wait_until(lambda: availability(watcher, me) == "away")


def test_idleness_is_told_once_a_minute_and_a_return_at_once(greendot):
    def delay(now, *, idle, sent, sent_at=100.0):
        return greendot.activity_delay(now, idle=idle, sent=sent, sent_at=sent_at)

    assert delay(0, idle=True, sent=False, sent_at=float("-inf")) == 0
    assert delay(101, idle=True, sent=True) is None
    assert delay(101, idle=False, sent=True) == 0
    assert delay(101, idle=False, sent=False) is None
    assert delay(101, idle=True, sent=False) == 59
    assert delay(160, idle=True, sent=False) == 0
    assert delay(999, idle=True, sent=False) == 0


def change_elsewhere(system, user_id, body):
    """As another device of the user."""
    path, token = "/api/me/presence", system.token(user_id)
    status, answer = system.request("PATCH", path, body, token=token, web=1)
    assert status == 200, answer


def test_own_settings_are_read_changed_and_kept_current(system, greendot, names):
    me, friend = names
    with greendot.Presence(system.url(), system.token(me)) as presence:
        assert presence.settings is None
        settings = presence.read_settings()
        assert (settings.visibility, settings.text) == ("everyone", None)
        assert settings == presence.settings
        exceptions = {"always": [friend], "never": []}
        settings = presence.change_settings(exceptions=exceptions, text="in Rome")
        assert (settings.exceptions, settings.text) == (exceptions, "in Rome")
        assert settings.detail.text == "in Rome"
        wait_until(lambda: presence.settings == settings)
        change_elsewhere(system, me, {"availability": "dnd"})
        wait_until(lambda: presence.settings.availability == "dnd")
        assert presence.settings.text == "in Rome"
        # None sets back; what is left out does not change.
        settings = presence.change_settings(text=None)
        assert (settings.text, settings.availability) == (None, "dnd")


def test_settings_with_asyncio(system, greendot, names):
    me, _ = names

    async def change():
        async with greendot.AsyncPresence(system.url(), system.token(me)) as presence:
            changed = await presence.change_settings(visibility="friends")
            return changed, await presence.read_settings()

    changed, read = loops.run(change())
    assert changed.visibility == read.visibility == "friends"


def test_settings_that_changed_while_it_was_away(system, greendot, names):
    me, _ = names
    token = system.token(me)
    has_token = threading.Event()
    has_token.set()

    def wait_for_token():
        has_token.wait(20)
        return token

    async def give_token():
        return await asyncio.to_thread(wait_for_token)

    with greendot.Presence(system.url(), give_token) as presence:
        assert presence.read_settings().text is None
        has_token.clear()
        cut(presence)
        wait_until(lambda: presence.stale)
        change_elsewhere(system, me, {"text": "changed meanwhile"})
        has_token.set()
        wait_until(lambda: presence.settings.text == "changed meanwhile")


def test_an_answer_that_comes_late_replaces_no_event(greendot, monkeypatch):
    old = {
        "visibility": "everyone",
        "last_seen": "everyone",
        "exceptions": {"always": [], "never": []},
        "availability": None,
        "text": "old",
        "emoji": None,
        "expires_at": None,
        "status": "offline",
        "detail": None,
        "field of a later version": 1,
    }
    presence = greendot.AsyncPresence("http://nowhere.invalid", "token")

    def call(*_arguments):
        presence._handle("presence_settings_changed", {**old, "text": "new"})
        return old

    monkeypatch.setattr(presence._rest, "call", call)
    assert loops.run(presence.read_settings()).text == "old"
    assert presence.settings.text == "new"


def test_a_refused_change_is_an_error_with_the_servers_words(system, greendot, names):
    with greendot.Presence(system.url(), system.token(names[0])) as presence:
        with pytest.raises(ApiError, match="takes one emoji") as refused:
            presence.change_settings(emoji="ab")
        assert presence.settings is None
    error = refused.value
    assert (error.status, error.code) == (400, "bad_request")
    assert error.message in str(error)


def test_a_forbidden_change_and_one_that_cannot_be_stored(own_system_of, greendot):
    system = own_system_of(PRESENCE_ALLOW_INVISIBLE="0")
    with greendot.Presence(system.url(), system.token("me")) as presence:
        with pytest.raises(ApiError) as refused:
            presence.change_settings(visibility="nobody")
        assert (refused.value.status, refused.value.code) == (403, "not_allowed")
        system.server.kill()
        with pytest.raises(ApiError) as refused:
            presence.change_settings(visibility="friends")
        assert (refused.value.status, refused.value.code) == (
            503,
            "presence_unavailable",
        )
        system.processes["web0"].kill()
        with pytest.raises(OSError, match=r"refused|reset"):
            presence.read_settings()


@pytest.mark.parametrize("status", [200, 302, 502])
def test_an_answer_that_is_not_greendots(greendot, status):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        presence = greendot.AsyncPresence(url, "token")
        try:
            with pytest.raises(ApiError) as refused:
                loops.run(presence.read_settings())
        finally:
            server.shutdown()
            thread.join()
    assert (refused.value.status, refused.value.code) == (status, "")
    assert asked == ["/api/me/presence"]


def test_it_closes_also_while_a_frame_arrives(greendot):
    """The `wait_for` of Python 3.11 loses a cancellation at that moment."""

    class Socket:
        def __init__(self):
            self.frame = asyncio.get_running_loop().create_future()

        async def recv(self):
            frame = await self.frame
            self.frame = asyncio.get_running_loop().create_future()
            return frame

    async def close():
        socket = Socket()
        serve = greendot._Connection(socket).serve(lambda *_: None, lambda: None)
        task = asyncio.create_task(serve)
        for _ in range(5):
            await asyncio.sleep(0)
        socket.frame.set_result('{"event": "invented", "data": {}}')
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        return task.cancelled()

    assert loops.run(close())


def test_a_bad_token_is_denied(system, greendot):
    with (
        pytest.raises(greendot.Denied) as denied,
        greendot.Presence(system.url(), "nonsense"),
    ):
        pass
    assert denied.value.code == 4401


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "ws:/localhost"])
def test_a_wrong_url_is_an_error_at_once(greendot, url):
    with pytest.raises(ValueError, match="does not begin with"):
        greendot.Presence(url, "token")


@pytest.mark.parametrize("tail", ["", "/", "/ws", "/ws/"])
def test_any_form_of_the_url_and_a_token_from_a_file(system, greendot, names, tail):
    url = system.url().replace("http", "ws") + tail
    with greendot.Presence(url, system.token(names[0]) + "\n") as presence:
        assert not presence.stale


def test_what_it_does_not_expect_ends_it_with_an_error(system, greendot, monkeypatch):
    def broken(*_arguments, **_options):
        raise KeyError

    monkeypatch.setattr(greendot, "connect", broken)
    with (
        pytest.raises(KeyError),
        greendot.Presence(system.url(), "token"),
    ):
        pass


def test_an_expired_token_ends_the_changes(system, greendot, names):
    with greendot.Presence(system.url(), system.token(names[0], 2)) as presence:
        with pytest.raises(greendot.Denied):
            list(presence.changes(timeout=15))
        assert presence.stale


def test_an_expiring_token_costs_no_reconnect(system, greendot, names):
    me, friend = names
    lifetimes = iter([3, 3600])
    fetched = []

    def fresh_token():
        fetched.append(system.token(me, next(lifetimes)))
        return fetched[-1]

    with greendot.Presence(system.url(), fresh_token) as presence:
        socket = presence._presence._socket
        ends_at = time.time() + 3
        wait_until(lambda: len(fetched) == 2 and time.time() > ends_at + 2)
        with Client(system, friend).opened():
            wait_until(lambda: presence.is_online(friend))
        assert presence._presence._socket is socket
        assert system.is_online(me)


def test_where_the_refresh_fails_the_token_is_fetched_anew_afterwards(
    system, greendot, names
):
    me, friend = names
    lifetimes = iter([3, None, 3600])
    fetched = []

    async def fresh_token():
        fetched.append(next(lifetimes))
        if fetched[-1] is None:
            raise ConnectionError
        return system.token(me, fetched[-1])

    with greendot.Presence(system.url(), fresh_token) as presence:
        socket = presence._presence._socket
        wait_until(lambda: len(fetched) == 3)
        with Client(system, friend).opened():
            wait_until(lambda: presence.is_online(friend))
        assert presence._presence._socket is not socket


def test_a_source_that_gives_no_better_token_is_denied(system, greendot, names):
    token = system.token(names[0], 2)
    with (
        greendot.Presence(system.url(), lambda: token) as presence,
        pytest.raises(greendot.Denied),
    ):
        list(presence.changes(timeout=15))


@pytest.mark.parametrize("nothing", [None, "", "\n"])
def test_a_function_that_gives_no_token_means_signed_out(greendot, nothing):
    with (
        pytest.raises(greendot.Denied, match="nobody is signed in") as denied,
        greendot.Presence("http://nowhere.invalid", lambda: nothing),
    ):
        pass
    assert denied.value.code == 4401


def test_a_refresh_without_a_token_means_signed_out(system, greendot, names):
    tokens = iter([system.token(names[0], 30), None])

    async def fresh_token():
        return next(tokens)

    with (  # the server wants a new token at once, perhaps before the snapshot
        pytest.raises(greendot.Denied, match="nobody is signed in"),
        greendot.Presence(system.url(), fresh_token) as presence,
    ):
        list(presence.changes(timeout=15))
    wait_until(lambda: not system.is_online(names[0]))


def test_a_token_that_does_not_come_is_asked_for_again(
    system, greendot, names, monkeypatch
):
    monkeypatch.setattr(greendot, "TIMEOUT", 1.0)
    asked = []

    async def unsure():
        asked.append(len(asked))
        if len(asked) == 1:
            raise ConnectionError
        if len(asked) == 2:
            await asyncio.Event().wait()
        return system.token(names[0])

    async def become_ready():
        async with greendot.AsyncPresence(system.url(), unsure) as presence:
            await asyncio.wait_for(presence.ready(), 15)
            return presence.stale

    assert loops.run(become_ready()) is False
    assert asked == [0, 1, 2]


def test_it_comes_back_after_a_crash(system, own_web, greendot, names):
    me, friend = names
    with (
        Client(system, friend, web=1).opened(),
        greendot.Presence(system.url(own_web), system.token(me)) as presence,
    ):
        assert presence.is_online(friend)
        system.processes[f"web{own_web}"].kill()
        wait_until(lambda: presence.stale, patience=2)
        assert not presence.is_online(friend)
        system.start_web(own_web)
        system.wait_ready(own_web)
        wait_until(lambda: presence.is_online(friend), patience=2)


def test_the_script_says_who_is_there(system, names):
    me, friend = names
    command = [
        sys.executable,
        PROJECT_ROOT / "examples" / "watch.py",
        system.url(),
        system.token(me),
    ]
    with (
        Client(system, friend).opened(),
        subprocess.Popen(
            command, env=ENVIRON, stdout=subprocess.PIPE, text=True
        ) as script,
    ):
        assert script.stdout.readline() == f"online: {friend}\n"
        script.terminate()


def test_the_program_in_the_readme(system, names):
    me, friend = names
    program = (
        "import sys\nfrom greendot_client import Presence\nurl, token = sys.argv[1:]\n"
        + Page("clients/python/README.md").block("details").text
    )
    command = [sys.executable, "-u", "-c", program, system.url(), system.token(me)]
    with (
        Client(system, friend, query="?detail=1").opened() as socket,
        subprocess.Popen(
            command, env=ENVIRON, stdout=subprocess.PIPE, text=True
        ) as run,
    ):
        assert run.stdout.readline() == f"{friend} active None\n"
        while True:  # friends see what the program has set
            online = socket.receive()["data"]
            if (online.get("detail") or {}).get("availability") == "dnd":
                break
        wait_until(lambda: system.redis.hget(f"user:{me}:status", "idle_since"))
        socket.send("activity", {"idle": True})
        assert run.stdout.readline() == f"{friend} is now away\n"
        run.terminate()


def test_the_wait_is_the_browsers(greendot):
    def waits(code: int, outage: float = 0) -> list[float]:
        return [greendot.retry_delay(outage, code, lambda by=by: by) for by in (0, 1)]

    assert [waits(1006, outage) for outage in (0, 5, 60, 9e9)] == [
        [0, 1],
        [0, 1],
        [0, 6],
        [0, 30],
    ]
    assert waits(4429) == waits(1013) == waits(1011) == [2.5, 5]
    for code in (4400, 1009, 1007, 1002):
        assert waits(code) == [30, 60]
    failing = [greendot.retry_delay(0, 1006, lambda: 0, n) for n in (1, 2, 3, 4, 10**6)]
    assert failing == [1, 2, 4, 4, 4]


def test_it_waits_as_the_close_code_asks_even_after_going_away(
    system, greendot, names, monkeypatch
):
    codes = []

    def note(_outage, code, _rand, _token_failures):
        codes.append(code)
        return 0.0

    monkeypatch.setattr(greendot, "retry_delay", note)
    with greendot.Presence(system.url(), system.token(names[0])) as presence:
        first = presence._presence._socket

        async def misbehave():
            presence._presence._handle("going_away", {"reconnect_in": 0})
            for _ in range(10):
                await first.send("hello")

        presence._call(misbehave())
        wait_until(lambda: presence._presence._socket not in (None, first))
        wait_until(lambda: not presence.stale)
    assert codes == [4400]
