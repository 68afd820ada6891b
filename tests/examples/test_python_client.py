"""examples/python/greendot.py against the real server."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import subprocess
import sys
import time

import pytest

from config import PROJECT_ROOT
from tests import loops
from tests.clients import Client
from tests.system import wait_until

pytestmark = pytest.mark.e2e

FOLDER = PROJECT_ROOT / "examples" / "python"
numbers = itertools.count()


@pytest.fixture(scope="module")
def greendot():
    spec = importlib.util.spec_from_file_location("greendot", FOLDER / "greendot.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["greendot"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["greendot"]


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


def test_an_expired_token_is_fetched_anew_where_it_can_be(system, greendot, names):
    me, friend = names
    lifetimes = iter([2, 3600])
    fetched = []

    def fresh_token():
        fetched.append(system.token(me, next(lifetimes)))
        return fetched[-1]

    with greendot.Presence(system.url(), fresh_token) as presence:
        wait_until(lambda: len(fetched) == 2)
        with Client(system, friend).opened():
            wait_until(lambda: presence.is_online(friend))
        assert system.is_online(me)


def test_a_source_that_gives_no_better_token_is_denied(system, greendot, names):
    token = system.token(names[0], 2)
    with (
        greendot.Presence(system.url(), lambda: token) as presence,
        pytest.raises(greendot.Denied),
    ):
        list(presence.changes(timeout=15))


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
    command = [sys.executable, FOLDER / "watch.py", system.url(), system.token(me)]
    with (
        Client(system, friend).opened(),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script,
    ):
        assert script.stdout.readline() == f"online: {friend}\n"
        script.terminate()


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
