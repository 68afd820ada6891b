"""A fresh snapshot of a client that has had one: what comes around it is not lost."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import gevent
import pytest
import redis
from gevent.event import Event
from sqlalchemy import func, select, text

from app.gateway import snapshots
from models import events
from models.events import Delivery, Transition
from models.fanout import fan_out
from models.presence import PresenceUnavailable
from models.presence.store import ClosedConnection, LiveConnection
from models.sql import graph
from models.sql.db import session_factory
from models.sql.user import unknown_users, user_table
from models.visibility import Visible
from models.visibility_updater import VisibilityUpdater
from tests.gateway.client import AFTER, BEFORE, Client, open_them

pytestmark = pytest.mark.integration

CARL = "carl"
INTRODUCED = Transition(CARL, "offline", 0)


@pytest.fixture
def ann(gateway):
    """Ann's client, who has had her snapshot."""
    with closing(Client(gateway, "ann")) as client:
        open_them(gateway, client.connection)
        assert client.statuses() == {BEFORE: "offline", AFTER: "offline"}
        yield client


@pytest.fixture
def redis_of(settings):
    """A client of the server that holds the state."""
    client = redis.Redis.from_url(settings.redis_url)
    yield client
    client.close()


def refresh(gateway):
    gateway.snapshots.request(gateway.hub.connections())
    gevent.with_timeout(3, gateway.snapshots.step)


def test_the_process_serves_others_while_a_large_snapshot_is_made(
    gateway, ann, monkeypatch
):
    monkeypatch.setattr(snapshots, "PIECE", 1)
    encode, steps = events.presence_snapshot, []
    spawned = []

    def encoded(piece):
        steps.append(len(piece))
        spawned.append(gevent.spawn(steps.append, "another"))
        return encode(piece)

    monkeypatch.setattr(events, "presence_snapshot", encoded)
    refresh(gateway)
    assert steps[:3] == [1, "another", 1]
    assert ann.statuses() == {BEFORE: "offline", AFTER: "offline"}
    gevent.joinall(spawned)


def introduce(gateway, transition=INTRODUCED):
    gateway.hub.introduce([Delivery(transition, "ann")])


def amid_the_read(monkeypatch, presence, act):
    """Do `act` once the relations of the next snapshot have been read."""
    read = presence.statuses_where_possible

    def read_and_act(user_ids):
        monkeypatch.setattr(presence, "statuses_where_possible", read)
        act()
        return read(user_ids)

    monkeypatch.setattr(presence, "statuses_where_possible", read_and_act)


def test_a_friend_made_while_it_is_read_is_in_the_map(
    gateway, presence, ann, monkeypatch
):
    amid_the_read(monkeypatch, presence, lambda: introduce(gateway))
    refresh(gateway)
    everybody = {BEFORE: "offline", AFTER: "offline", CARL: "offline"}
    assert ann.statuses() == everybody


def test_what_was_held_for_one_that_failed_is_told(gateway, presence, ann, monkeypatch):
    def fail():
        introduce(gateway)
        raise PresenceUnavailable

    amid_the_read(monkeypatch, presence, fail)
    monkeypatch.setattr("app.gateway.snapshots.RETRY_AFTER", 0)
    refresh(gateway)
    assert [data["user_id"] for _, data in ann.messages()] == [CARL]


def test_who_was_deleted_while_connected_stays_deleted(gateway, engine, ann):
    with session_factory(engine)() as session:
        graph.delete_user(session, "ann")
        session.commit()
    refresh(gateway)
    assert ann.statuses() == {}
    with engine.connect() as connection:
        is_ann = user_table.c.id == "ann"
        found = connection.scalar(
            select(func.count()).select_from(user_table).where(is_ann)
        )
    assert found == 0


# Once means once


def status_of(presence, user_id, status):
    """Make `user_id` so, and the transition that says it."""
    store = presence.shards[0].store
    sign = LiveConnection(user_id, "other:1:1")
    if status == "online":
        return store.connect("other:1", [sign]).transitions[0]
    store.release("other:1", [ClosedConnection(user_id, "other:1:1", grace_ms=0)])
    return store.expire([user_id]).transitions[0]


def heard(client):
    """The timestamps of the events that have come."""
    try:
        found = client.messages()
    except TimeoutError:
        return []
    return [
        data["timestamp"] for event, data in found if event == "friend_status_changed"
    ]


@pytest.mark.parametrize("settled", [False, True])
def test_what_the_snapshot_told_is_not_told_again_however_late(
    gateway, presence, settled
):
    """The worker was away while a friend came and went, for minutes."""
    told = [status_of(presence, BEFORE, status) for status in ("online", "offline")]
    with closing(Client(gateway, "ann")) as ann:
        open_them(gateway, ann.connection)
        assert ann.statuses() == {BEFORE: "offline", AFTER: "offline"}
        if settled:
            gateway.hub.connections()[0].shorten_filter(ann.connection._filter)
        later = status_of(presence, BEFORE, "online")
        for transition in (*told, later, later):
            gateway.hub.deliver_transitions([Delivery(transition, "ann")])
        other = status_of(presence, AFTER, "online")
        gateway.hub.deliver_transitions(
            [Delivery(told[1], "ann"), Delivery(other, "ann"), Delivery(told[0], "ann")]
        )
        assert heard(ann) == [later.timestamp, other.timestamp]


@pytest.mark.parametrize("settled", [False, True])
def test_a_friend_made_later_is_introduced_with_an_old_status(gateway, ann, settled):
    if settled:
        ann.connection.shorten_filter(ann.connection._filter)
    introduce(gateway, Transition(CARL, "offline", 5))
    assert heard(ann) == [5]


def test_a_timestamp_ahead_of_the_clock_is_remembered(gateway, presence, redis_of):
    """The clock of Redis stepped back: it is before what the friend's status says."""
    status_of(presence, BEFORE, "online")
    ahead = int(time.time() * 1000) + 60_000
    redis_of.hset(presence._keys[0].user_status(BEFORE), "updated_at", ahead)
    with closing(Client(gateway, "ann")) as ann:
        open_them(gateway, ann.connection)
        ann.messages()
        ann.connection.shorten_filter(ann.connection._filter)
        for timestamp in (ahead - 1, ahead, ahead + 1):
            told = Transition(BEFORE, "offline", timestamp)
            gateway.hub._newest.clear()
            gateway.hub.deliver_transitions([Delivery(told, "ann")])
        assert heard(ann) == [ahead + 1]


def test_after_the_clock_was_set_back_changes_are_heard(gateway, ann):
    """A change may have a timestamp before the time at which the snapshot was read."""
    ann.connection.shorten_filter(ann.connection._filter)
    now = int(time.time() * 1000) - 3_600_000
    news = Transition(BEFORE, "online", now + 5)
    gateway.hub.deliver_transitions([Delivery(news, "ann")])
    gateway._clock_set_back(now)
    gateway.hub._newest.clear()
    gateway.hub.deliver_transitions([Delivery(news, "ann")])
    assert heard(ann) == [news.timestamp]


def is_stored(engine, user_id):
    with engine.connect() as connection:
        return not unknown_users(connection, [user_id])


def test_a_user_who_cannot_be_stored_holds_up_nobody(gateway, engine, monkeypatch):
    """And gets an empty map all the same; storing is tried again."""
    monkeypatch.setattr("app.new_users.RETRY_AFTER", 0.01)
    refuse = (
        "CREATE TRIGGER refuse BEFORE INSERT ON users WHEN NEW.id = 'stranger' "
        "BEGIN SELECT RAISE(ABORT, 'not now'); END"
    )
    with engine.connect() as connection:
        connection.execute(text(refuse))
    with (
        closing(Client(gateway, "stranger")) as stranger,
        closing(Client(gateway, "guest")) as guest,
        closing(Client(gateway, "ann")) as ann,
    ):
        clients = (stranger, guest, ann)
        open_them(gateway, *(client.connection for client in clients))
        assert ann.statuses() == {BEFORE: "offline", AFTER: "offline"}
        gevent.with_timeout(3, gateway.snapshots.step)  # that of the strangers
        for client in (stranger, guest):
            assert "presence_snapshot" in dict(client.messages())
    assert is_stored(engine, "guest")
    assert not is_stored(engine, "stranger")
    with engine.connect() as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    with gevent.Timeout(10):
        while not is_stored(engine, "stranger"):
            gevent.sleep(0.01)


def test_a_snapshot_that_cannot_be_read_holds_up_no_other(
    gateway, presence, monkeypatch
):
    monkeypatch.setattr("app.gateway.snapshots.RETRY_ALONE_AFTER", 0.01)
    read = presence.statuses_where_possible
    fails = True

    def read_some(user_ids):
        if fails and BEFORE in user_ids:
            message = "WRONGTYPE, for example"
            raise RuntimeError(message)
        return read(user_ids)

    monkeypatch.setattr(presence, "statuses_where_possible", read_some)
    with (
        closing(Client(gateway, "ann")) as ann,
        closing(Client(gateway, BEFORE)) as other,
    ):
        open_them(gateway, ann.connection, other.connection)
        assert other.statuses() == {"ann": "online"}
        assert [event for event, _ in ann.messages()] == ["welcome"]
        fails = False
        gevent.with_timeout(3, gateway.snapshots.step)
        assert ann.statuses() == {BEFORE: "online", AFTER: "offline"}


# While the rule changes


@pytest.fixture
def changes(presence, engine):
    """Ann shows nobody her own `last_seen`. So the time of a friend who is offline is
    that of the read."""
    changes = VisibilityUpdater(presence, session_factory(engine), lambda _: None)
    set_to(changes, "ann", last_seen=Visible.NOBODY)
    set_to(changes, BEFORE, visibility=Visible.NOBODY)
    status_of(presence, BEFORE, "online")
    return changes


def set_to(changes, user_id, **fields):
    changes.change_settings(user_id, lambda old: replace(old, **fields))


def broadcast(presence, engine):
    outbox = presence.shards[0].outbox
    entries = outbox.take("token") or []
    with engine.connect() as reader:
        fan_out(presence, reader, [entry.content for entry in entries])
    outbox.release_lease("token", entries)


@pytest.mark.parametrize("is_amid_the_read", [False, True])
def test_a_snapshot_that_is_newer_than_a_change_under_way_is_followed_by_another(
    gateway, presence, engine, changes, monkeypatch, is_amid_the_read
):
    """The change has its number before the snapshot is read, and is stored after it."""
    has_number, may_store = Event(), Event()
    mark = presence.start_visibility_change

    def mark_and_wait(user_id):
        monkeypatch.setattr(presence, "start_visibility_change", mark)
        found = mark(user_id)
        while presence.now() < found.timestamp + 3:
            pass
        has_number.set()
        may_store.wait()
        return found

    def finish():
        may_store.set()
        change.get(timeout=5)
        broadcast(presence, engine)
        gevent.with_timeout(3, gateway.event_reader.step, timeout_value=None)

    monkeypatch.setattr(presence, "start_visibility_change", mark_and_wait)
    change = gevent.spawn(set_to, changes, BEFORE, visibility=Visible.EVERYONE)
    has_number.wait()
    with closing(Client(gateway, "ann")) as ann:
        if is_amid_the_read:
            amid_the_read(monkeypatch, presence, finish)
            open_them(gateway, ann.connection)
        else:
            open_them(gateway, ann.connection)
            finish()
        gevent.with_timeout(3, gateway.snapshots.step, timeout_value=None)
        assert ann.statuses() == {BEFORE: "online", AFTER: "offline"}
