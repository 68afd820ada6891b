"""Details in one gateway: activity during a registration, and changes of detail around
the read of a snapshot."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import gevent
import orjson
import pytest

from app.gateway import snapshots
from models.detail import Layer, Layers
from models.events import Availability, Delivery, Detail, Transition
from models.presence.store import LiveConnection
from models.sql.db import session_factory
from models.visibility import Visible
from models.visibility_updater import VisibilityUpdater
from tests.gateway.client import BEFORE, Client, open_them

pytestmark = pytest.mark.integration

DND = Layers(manual=Layer(Availability.DND, "secret", since=5))


@pytest.fixture
def ann(gateway):
    """Ann's client, who wants details."""
    with closing(Client(gateway, "ann")) as client:
        client.connection.wants_detail = True
        yield client


@pytest.fixture
def changes(presence, engine):
    return VisibilityUpdater(presence, session_factory(engine), lambda _: None)


def both(client):
    """The welcome and the snapshot."""
    found = client.messages()
    while len(found) < len(("welcome", "snapshot")):
        found += client.messages()
    return found


def is_idle(presence, user_id):
    (status,) = presence.statuses([user_id])
    return status.activity.idle_since is not None


@pytest.mark.parametrize("idle", [True, False])
def test_activity_that_reaches_redis_before_the_registration(
    gateway, presence, ann, monkeypatch, idle
):
    """Redis has lost its state. While the gateway registers its connections again, the
    person comes back, and Redis does not know this connection yet."""
    connection = ann.connection
    open_them(gateway, connection)
    connection.is_idle = not idle
    store = presence.shards[0].store
    register = store.connect

    def register_late(gateway_id, live):
        said = {"event": "activity", "data": {"idle": idle}}
        connection.on_message(orjson.dumps(said).decode())
        gevent.with_timeout(3, gateway.activities[0].step)
        return register(gateway_id, live)

    presence._backend.run(0, [("FLUSHALL",)])
    monkeypatch.setattr(store, "connect", register_late)
    gateway.sessions[0].register([connection])
    gevent.with_timeout(3, gateway.activities[0].step, timeout_value=None)
    assert is_idle(presence, "ann") is idle


@pytest.mark.parametrize("settled", [False, True])
def test_a_detail_that_is_set_while_a_snapshot_is_read_is_heard(
    gateway, presence, ann, changes, monkeypatch, settled
):
    """However late its event comes."""
    store = presence.shards[0].store
    store.connect("other:1", [LiveConnection(BEFORE, "other:1:1")])
    read = presence.statuses_where_possible
    numbers = []

    def set_and_read(user_ids):
        changes.change_settings(BEFORE, lambda old: replace(old, layers=DND))
        *_, entry = presence.shards[0].outbox.take("token", [], 100, 0)
        numbers.append(entry.content.timestamp)
        time.sleep(0.005)
        return read(user_ids)

    monkeypatch.setattr(presence, "statuses_where_possible", set_and_read)
    open_them(gateway, ann.connection)
    (_, welcome), (_, snapshot) = both(ann)
    assert "idle_after" in welcome
    assert snapshot["statuses"][BEFORE]["detail"]["availability"] == "active"
    if settled:
        ann.connection.shorten_filter(ann.connection._filter)
    detail = Detail(Availability.DND, "secret", None, None, 5)
    gateway.hub.deliver_transitions(
        [
            Delivery(
                Transition(BEFORE, "online", numbers[0]),
                "ann",
                detail=detail,
                is_detail_only=True,
            )
        ]
    )
    ((event, data),) = ann.messages()
    assert event == "friend_detail_changed"
    assert data["detail"]["text"] == "secret"


@pytest.mark.parametrize("before", ["layers_of", "Rules"])
def test_what_a_user_sets_while_hiding_is_in_no_snapshot(
    gateway, presence, ann, changes, monkeypatch, before
):
    """The call comes between two queries of the snapshot."""
    presence.shards[0].store.connect("other:1", [LiveConnection(BEFORE, "other:1:1")])
    changes.change_settings(BEFORE, lambda old: old)
    original = getattr(snapshots, before)

    def hide():
        monkeypatch.setattr(snapshots, before, original)
        changes.change_settings(
            BEFORE,
            lambda old: replace(old, visibility=Visible.NOBODY, layers=DND),
        )

    class HidesFirst:
        def __call__(self, *args):
            hide()
            return original(*args)

        def read(self, *args, **options):
            hide()
            return original.read(*args, **options)

    monkeypatch.setattr(snapshots, before, HidesFirst())
    open_them(gateway, ann.connection)
    _, (_, snapshot) = both(ann)
    shown = snapshot["statuses"][BEFORE]
    assert shown["detail"] is None or shown["detail"]["text"] is None
