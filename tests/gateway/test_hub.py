"""What is news to a gateway's clients, and what is a repeat."""

from __future__ import annotations

from contextlib import closing

import pytest

from models.events import Delivery, Detail, Transition
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
