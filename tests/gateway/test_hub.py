"""What is news to a gateway's clients, and what is a repeat."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from types import SimpleNamespace

import gevent
import pytest

from app.gateway import large_deliveries
from app.gateway.large_deliveries import LARGE, LargeDeliveries
from app.gateway.snapshot_filter import StatusEvent
from models.events import Delivery, Detail, Transition
from models.identifiers import ids_in, joined_ids
from tests.gateway.client import BEFORE, Client, open_them

pytestmark = pytest.mark.integration

ONLINE = Transition(BEFORE, "online", 1000)
CID = Transition("cid", "online", 7)


def tell(gateway, transition):
    gateway.hub.deliver_transitions([Delivery(transition, "ann")])


def heard(client):
    return [
        (data["status"], data["timestamp"])
        for event, data in client.messages()
        if event == "friend_status_changed"
    ]


@pytest.fixture
def ann(gateway):
    """Ann's client, who has heard that a friend is online."""
    with closing(Client(gateway, "ann")) as client:
        open_them(gateway, client.connection)
        tell(gateway, ONLINE)
        assert heard(client) == [("online", 1000)]
        yield client


def test_who_is_named_twice_hears_it_once(gateway, ann):
    first, second = (Transition(BEFORE, "offline", time) for time in (1001, 1002))
    gateway.hub.deliver_transitions([Delivery(first, "ann,bob,ann")])
    gateway.hub.deliver_transitions(
        [Delivery(second, "ann,ann"), Delivery(CID, "ann,ann")]
    )
    assert heard(ann) == [("offline", 1001), ("offline", 1002), ("online", 7)]


def test_viewers_of_different_details_all_hear_of_one_transition(gateway, ann):
    """They see the user since different times."""
    online = Transition(BEFORE, "online", 1001)
    parts = [
        Delivery(online, ids, detail=Detail.plain(since))
        for ids, since in (("bob", 5), ("ann", 1001))
    ]
    gateway.hub.deliver_transitions([*parts, Delivery(CID, "ann")])
    gateway.hub.deliver_transitions(parts)  # now it is a repeat
    assert heard(ann) == [("online", 1001), ("online", 7)]


def test_repeats_and_what_was_overtaken_are_no_news(gateway, ann):
    tell(gateway, ONLINE)
    tell(gateway, Transition(BEFORE, "offline", 999))
    tell(gateway, Transition(BEFORE, "offline", 1001))
    assert heard(ann) == [("offline", 1001)]


def test_one_transition_in_two_deliveries_reaches_all(gateway, ann):
    """Not all viewers see the user since the same time."""
    offline = Transition(BEFORE, "offline", 1001)
    for _ in range(2):  # the second message is a repeat
        gateway.hub.deliver_transitions(
            [Delivery(offline, "bob"), Delivery(offline, "ann")]
        )
    assert heard(ann) == [("offline", 1001)]


def test_what_redis_repeats_after_it_had_lost_its_state_is_no_news(gateway, ann):
    gateway.hub.reset_after_loss(2000)
    tell(gateway, ONLINE)  # an older state of Redis has it in its outbox again
    tell(gateway, Transition(BEFORE, "offline", 2000))
    assert heard(ann) == [("offline", 2000)]


def test_news_is_news_though_the_clock_of_redis_stepped_back(gateway, ann):
    gateway.hub.reset_after_loss(500)
    tell(gateway, Transition(BEFORE, "offline", 500))
    assert heard(ann) == [("offline", 500)]


@pytest.fixture
def crowd(gateway, monkeypatch):
    """The clients of 450 users, who know nobody yet, and their ids in one text. Pieces
    have 200 recipients."""
    monkeypatch.setattr(large_deliveries, "PIECE", 200)
    clients = {f"c{number}": Client(gateway, f"c{number}") for number in range(450)}
    for client in clients.values():
        gateway.sessions[0].connect(client.connection)
    waiting = list(clients.values())
    while waiting:
        for step in (gateway.connects[0].step, gateway.snapshots.step):
            gevent.with_timeout(1, step, timeout_value=None)
        waiting = [
            client
            for client in waiting
            if not client.has_unread()
            or "presence_snapshot" not in dict(client.messages())
        ]
    elsewhere = [f"elsewhere{number}" for number in range(LARGE)]
    return clients, ",".join([*clients, *elsewhere, "c7"])


def heard_by(clients):
    """What the clients have heard, and how many of them each."""
    return Counter(
        tuple(heard(client)) for client in clients.values() if client.has_unread()
    )


def test_a_crowd_is_told_in_pieces_and_once(gateway, crowd):
    clients, ids = crowd
    gateway.hub.deliver_transitions([Delivery(ONLINE, ids), Delivery(CID, "c449")])
    # An ordinary event does not wait for the crowd.
    assert heard_by(clients) == {(("online", 7),): 1}
    said = []
    for _ in range(3):
        gateway.hub.large_deliveries.step()
        said.append(heard_by(clients))
    assert said == [{(("online", 1000),): count} for count in (200, 200, 50)]
    assert gateway.counts.notifications == 451


def test_a_large_event_has_one_delay_if_it_reaches_anybody(gateway, crowd):
    _, ids = crowd
    delays = gateway.counts.delivery_ms
    delays.clear()
    elsewhere = ",".join(f"elsewhere{number}" for number in range(LARGE + 1))
    gateway.hub.deliver_transitions([Delivery(CID, elsewhere)])
    gateway.hub.large_deliveries.step()
    assert not delays
    gateway.hub.deliver_transitions([Delivery(ONLINE, ids)])
    noted = []
    for _ in range(3):
        gateway.hub.large_deliveries.step()
        noted.append(len(delays))
    assert noted == [0, 0, 1]


def test_later_events_of_the_same_user_wait_behind_a_crowd(gateway, crowd):
    clients, ids = crowd
    hub = gateway.hub
    hub.deliver_transitions([Delivery(ONLINE, ids)])
    hub.large_deliveries.step()
    hub.deliver_transitions([Delivery(ONLINE, ids)])  # a repeat
    hub.deliver_transitions([Delivery(Transition(BEFORE, "offline", 1001), "c1,c449")])
    hub.introduce([Delivery(Transition(BEFORE, "offline", 1001), "c2")])
    assert heard_by(clients) == {(("online", 1000),): 200}
    for _ in range(4):
        hub.large_deliveries.step()
    assert heard_by(clients) == {
        (("online", 1000),): 249,
        (("online", 1000), ("offline", 1001)): 1,
        (("offline", 1001),): 2,
    }


def test_of_the_changes_that_wait_for_a_crowd_only_the_newest_stays(gateway, crowd):
    clients, ids = crowd
    deliver = gateway.hub.deliver_transitions
    step = gateway.hub.large_deliveries.step
    deliver([Delivery(ONLINE, ids)])
    step()
    for number in range(20):
        status = "online" if number % 2 else "offline"
        deliver([Delivery(Transition(BEFORE, status, 1001 + number), ids)])
    for _ in range(5):
        step()
    assert heard_by(clients) == {(("online", 1000), ("online", 1020)): 450}
    # A change of visibility keeps its place between them.
    hidden = Delivery(Transition(BEFORE, "offline", 1031), "c1", for_viewers=True)
    deliver([Delivery(Transition(BEFORE, "offline", 1030), ids)])
    deliver([hidden, Delivery(Transition(BEFORE, "online", 1032), ids)])
    deliver([Delivery(Transition(BEFORE, "offline", 1033), ids)])
    for _ in range(7):
        step()
    assert heard(clients["c1"]) == [
        ("offline", 1030),
        ("offline", 1031),
        ("offline", 1033),
    ]


def test_a_client_that_comes_meanwhile_is_not_told_what_its_snapshot_has(
    gateway, presence
):
    """A friend comes online, and ann's friend and many others must hear it."""
    elsewhere = ",".join(f"elsewhere{number}" for number in range(LARGE))
    friend = Client(gateway, BEFORE)
    open_them(gateway, friend.connection)
    (status,) = presence.statuses([BEFORE])
    online = status.as_transition()
    gateway.hub.deliver_transitions([Delivery(online, f"{elsewhere},ann")])
    ann = Client(gateway, "ann")
    open_them(gateway, ann.connection)
    gateway.hub.large_deliveries.step()
    events = [event for event, _ in ann.messages()]
    assert events == ["welcome", "presence_snapshot"]
    assert not ann.has_unread()


def test_too_many_who_wait_are_told_at_once(gateway, crowd, monkeypatch):
    monkeypatch.setattr("app.gateway.large_deliveries.MAX_WAITING", 2 * LARGE)
    clients, ids = crowd
    gateway.hub.deliver_transitions([Delivery(CID, ids)])
    gateway.hub.deliver_transitions([Delivery(ONLINE, ids)])
    assert heard_by(clients) == {(("online", 1000),): 450}
    for _ in range(3):
        gateway.hub.large_deliveries.step()
    assert heard_by(clients) == {(("online", 7),): 450}


def test_on_a_busy_core_large_deliveries_pause_longer(monkeypatch):
    clock, slept = [100.0], []

    def tell(*_):
        clock[0] += 0.001

    def sleep(seconds):
        slept.append(round(seconds, 6))
        clock[0] += seconds + late[len(slept) - 1]

    late = [0.0, 0.004, 0.0, 5.0, 0.0]
    time = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr(large_deliveries, "time", time)
    monkeypatch.setattr(large_deliveries, "gevent", SimpleNamespace(sleep=sleep))
    deliveries = LargeDeliveries(lambda ids: list(ids_in(ids)), tell)
    recipients = joined_ids(f"user{number}" for number in range(LARGE + 1))
    assert deliveries.queue_if_large(StatusEvent("ann", 1, b"frame"), recipients)
    for _ in late:
        deliveries.step()
    assert slept == [0.001, 0.001, 0.009, 0.001, large_deliveries.MAX_SLEEP]
