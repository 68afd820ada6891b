"""What a gateway reads of its stream."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import gevent
import pytest
import redis

from app.gateway import event_reader
from models.events import Delivery, GatewayMessage, Transition
from models.presence.gateway_streams import STREAM_TTL_MS
from models.presence.rules import has_lost_messages
from tests.gateway.client import AFTER, BEFORE, Client, open_them

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(settings):
    """With a short TTL. The fresh snapshots come two flush intervals after a loss."""
    return replace(settings, gateway_ttl=1.0)


def test_a_server_whose_clock_is_behind_takes_the_place_of_ours(gateway, presence):
    """The ids of its messages are less than the last one that we have read."""
    home = presence.shards[0]
    with closing(Client(gateway, "ann")) as ann:
        open_them(gateway, ann.connection)
        ann.messages()
        now = int(time.time() * 1000)
        gateway.event_reader._last_id = f"{now + 60_000}-3"  # its clock was ahead
        gateway._reset_after_loss(home.number, now)
        news = Delivery(Transition(BEFORE, "online", now + 1), "ann")
        presence.gateway_streams.publish(
            {gateway.id: GatewayMessage(transitions=(news,))}
        )
        gateway.event_reader.step()
        assert [data["user_id"] for _, data in ann.messages()] == [BEFORE]


@pytest.fixture
def ann(gateway):
    """Ann's client, who has had her snapshot."""
    with closing(Client(gateway, "ann")) as client:
        open_them(gateway, client.connection)
        client.messages()
        yield client


@pytest.fixture
def stream(settings, presence, gateway):
    """The server, and the key of the gateway's stream."""
    client = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    yield client, presence._keys[0].gateway_events(gateway.id)
    client.close()


def tell(presence, gateway, user_id, timestamp):
    news = Delivery(Transition(user_id, "online", timestamp), "ann")
    presence.gateway_streams.publish({gateway.id: GatewayMessage(transitions=(news,))})


def listen(gateway):
    """What the loops do: read, and send the snapshots that are then owed."""
    gateway.event_reader.step()
    gevent.sleep(2.5 * gateway._settings.flush_interval)
    gevent.with_timeout(1, gateway.snapshots.step, timeout_value=None)


def events_of(client):
    return [event for event, _ in client.messages()]


def test_a_message_that_cannot_be_read_is_made_good_by_a_snapshot(
    gateway, presence, ann, stream
):
    client, key = stream
    now = int(time.time() * 1000) + 1000
    tell(presence, gateway, BEFORE, now)
    client.xadd(key, {"m": "[1]"})
    tell(presence, gateway, AFTER, now)
    listen(gateway)
    assert events_of(ann) == [
        "friend_status_changed",
        "friend_status_changed",
        "presence_snapshot",
    ]


@pytest.mark.parametrize("how", ["deleted", "cut", "replaced"])
def test_messages_that_are_gone_are_made_good_by_a_snapshot(
    gateway, presence, ann, stream, how, monkeypatch
):
    if how != "replaced":  # that is noticed at once
        monkeypatch.setattr(event_reader, "TRIM_EVERY", 0)
        gateway.event_reader._trim_at = 0
    client, key = stream
    now = int(time.time() * 1000) + 1000
    tell(presence, gateway, BEFORE, now)
    gateway.event_reader.step()
    assert events_of(ann) == ["friend_status_changed"]
    tell(presence, gateway, AFTER, now)
    if how == "deleted":
        client.delete(key)
    elif how == "cut":
        client.xtrim(key, maxlen=0, approximate=False)
    else:
        client.set(key, "somebody else's")
    listen(gateway)
    assert events_of(ann) == ["presence_snapshot"]
    tell(presence, gateway, AFTER, now + 1)
    listen(gateway)
    assert events_of(ann) == ["friend_status_changed"], "once is enough"


def test_messages_are_deleted_now_and_then_after_they_were_read(
    gateway, presence, ann, stream
):
    client, key = stream
    now = int(time.time() * 1000) + 1000
    for number in range(5):
        tell(presence, gateway, BEFORE, now + number)
        gateway.event_reader.step()
    assert client.xlen(key) > 1, "not each read deletes"
    gateway.event_reader.step()  # waits until the next deletion is due
    gevent.with_timeout(0.5, gateway.event_reader.step, timeout_value=None)
    assert client.xlen(key) == 0
    assert events_of(ann) == 5 * ["friend_status_changed"]


@pytest.mark.parametrize(
    ("read", "gone", "silent_ms", "lost"),
    [
        (0, 0, 0, False),
        (7, 7, 0, False),
        (7, 0, 1000, True),
        (7, 0, STREAM_TTL_MS, False),
        (7, 3, STREAM_TTL_MS, True),
        (7, 8, 0, True),
    ],
)
def test_what_says_that_messages_are_lost(read, gone, silent_ms, lost):
    assert has_lost_messages(read, gone, silent_ms, STREAM_TTL_MS) is lost
