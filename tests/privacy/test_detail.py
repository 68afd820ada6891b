"""Details over the wire: who hears which, and who hears nothing of them."""

from __future__ import annotations

import time

import pytest

from tests.clients import Client
from tests.privacy.test_settings import mine, of_host, settings_events
from tests.privacy.watcher import Watcher, call_as, patch
from tests.system import wait_until as wait

pytestmark = pytest.mark.e2e

PLAIN = {"text": None, "emoji": None, "expires_at": None}


class Friends:
    """Ann, and her friend Bob who wants details, each with one client."""

    def __init__(self, system, prefix):
        self.system = system
        self.ann, self.bob = f"{prefix}-ann", f"{prefix}-bob"
        system.befriend(self.ann, self.bob)

    def client(self, who, *, web=0, detail=True):
        query = "?detail=1" if detail else ""
        return Client(self.system, who, web=web, query=query)

    def idle(self, client, *, idle=True):
        client.send("activity", {"idle": idle})


@pytest.fixture
def friends(steady, request):
    return Friends(steady, "d-" + request.node.name.removeprefix("test_")[:40])


def availability(client):
    return client.expect("friend_detail_changed")["detail"]["availability"]


def test_a_client_that_asks_gets_details_everywhere(friends):
    with friends.client(friends.bob, web=1) as bob:
        assert bob.expect("welcome")["idle_after"] == 300.0
        statuses = bob.expect("presence_snapshot")["statuses"]
        assert statuses[friends.ann]["detail"] is None
        with friends.client(friends.ann) as ann:
            online = bob.expect_change(friends.ann, "online")
            assert online["detail"] == {
                "availability": "active",
                "since": online["timestamp"],
                **PLAIN,
            }
            statuses = ann.expect("presence_snapshot")["statuses"]
            assert statuses[friends.bob]["detail"]["availability"] == "active"
            ann.send("leave")
            assert bob.expect_change(friends.ann, "offline")["detail"] is None


def test_other_clients_get_exactly_the_plain_frames(friends):
    watcher = Watcher(friends.system, friends.bob).opened()
    with friends.client(friends.bob) as bob, friends.client(friends.ann) as ann:
        bob.opened()
        watcher.wait_for(friends.ann, "online")
        patch(friends.system, friends.ann, {"availability": "dnd", "text": "busy"})
        assert availability(bob) == "dnd"
        patch(friends.system, friends.ann, {"availability": None})
        friends.idle(ann)
        assert availability(bob) == "active"
        assert availability(bob) == "away"
        ann.send("leave")
        watcher.wait_for(friends.ann, "offline")
    events = [(one.event, sorted(one.data)) for one in watcher.frames]
    watcher.close()
    assert events == [
        ("welcome", ["connection_id", "heartbeat_interval", "timestamp", "user_id"]),
        ("presence_snapshot", ["statuses"]),
        ("friend_status_changed", ["status", "timestamp", "user_id"]),
        ("friend_status_changed", ["status", "timestamp", "user_id"]),
    ]


def test_what_is_set_by_hand_survives_a_reconnect(friends):
    patch(friends.system, friends.ann, {"availability": "dnd", "emoji": "🌴"})
    with friends.client(friends.bob) as bob:
        bob.opened()
        times = []
        for _ in range(2):
            with friends.client(friends.ann, web=1) as ann:
                ann.opened()
                detail = bob.expect_change(friends.ann, "online")["detail"]
                assert (detail["availability"], detail["emoji"]) == ("dnd", "🌴")
                times.append(detail["since"])
                ann.send("leave")
                bob.expect_change(friends.ann, "offline")
        assert times[0] == times[1]


def test_three_layers(friends):
    with friends.client(friends.ann) as ann, friends.client(friends.bob) as bob:
        ann.opened()
        bob.opened()
        of_host(
            friends.system,
            "PATCH",
            friends.ann,
            {"availability": "dnd", "text": "call"},
        )
        detail = bob.expect("friend_detail_changed")["detail"]
        assert (detail["availability"], detail["text"]) == ("dnd", "call")
        answer = patch(friends.system, friends.ann, {"availability": "away"})
        # The user's own layer has no text. What is shown has that of the host.
        assert (answer["availability"], answer["text"]) == ("away", None)
        assert answer["detail"]["text"] == "call"
        detail = bob.expect("friend_detail_changed")["detail"]
        assert (detail["availability"], detail["text"]) == ("away", "call")
        # `active` takes the value of its layer back; the host's shows again.
        patch(friends.system, friends.ann, {"availability": "active"})
        assert availability(bob) == "dnd"
        of_host(
            friends.system, "PATCH", friends.ann, {"availability": None, "text": None}
        )
        detail = bob.expect("friend_detail_changed")["detail"]
        assert (detail["availability"], detail["text"]) == ("active", None)
        assert of_host(friends.system, "GET", friends.ann).json["data"]["text"] is None


def test_idleness_never_shows_through_what_was_set(friends):
    with friends.client(friends.ann) as ann, friends.client(friends.bob) as bob:
        ann.opened()
        bob.opened()
        patch(friends.system, friends.ann, {"availability": "dnd"})
        assert availability(bob) == "dnd"
        friends.idle(ann)
        wait(
            lambda: friends.system.redis.hget(
                f"user:{friends.ann}:status", "idle_since"
            )
        )
        patch(friends.system, friends.ann, {"text": "deep work"})
        # The next event is that of the text: idleness alone was told to nobody.
        detail = bob.expect("friend_detail_changed")["detail"]
        assert (detail["availability"], detail["text"]) == ("dnd", "deep work")
        patch(friends.system, friends.ann, {"availability": None, "text": None})
        assert availability(bob) == "away"


def test_all_devices_decide_who_is_idle(friends):
    with friends.client(friends.bob) as bob, friends.client(friends.ann) as phone:
        bob.opened()
        phone.opened()
        with friends.client(friends.ann, web=1, detail=False) as laptop:
            laptop.opened()
            friends.idle(phone)
            friends.idle(laptop)
            away = bob.expect("friend_detail_changed")
            assert away["detail"]["availability"] == "away"
            friends.idle(laptop, idle=False)
            back = bob.expect("friend_detail_changed")
            assert back["detail"]["availability"] == "active"
            assert back["timestamp"] > away["timestamp"]
        # The laptop is closed. After the grace only the idle phone is left.
        assert availability(bob) == "away"
        with friends.client(friends.ann, web=1) as tablet:
            tablet.opened()
            assert availability(bob) == "active"


def test_an_end_is_told_once_and_shows_the_layer_below(friends):
    watcher = Watcher(friends.system, friends.ann).opened()
    with friends.client(friends.bob) as bob:
        bob.opened()
        of_host(friends.system, "PATCH", friends.ann, {"availability": "away"})
        assert availability(bob) == "away"
        end = int(time.time() * 1000) + 1500
        fields = {"availability": "dnd", "text": "lunch", "expires_at": end}
        patch(friends.system, friends.ann, fields)
        detail = bob.expect("friend_detail_changed")["detail"]
        assert (detail["availability"], detail["expires_at"]) == ("dnd", end)
        ended = bob.expect("friend_detail_changed")
        assert ended["detail"] == {
            "availability": "away",
            "text": None,
            "emoji": None,
            "expires_at": None,
            "since": ended["detail"]["since"],
        }
        data = mine(friends.system, friends.ann).json["data"]
        assert (data["availability"], data["text"], data["expires_at"]) == (None,) * 3
        wait(lambda: settings_events(watcher)[-1]["availability"] is None, 30)
        # Nothing more is told of it.
        patch(friends.system, friends.ann, {"emoji": "🍲"})
        assert bob.expect("friend_detail_changed")["detail"]["emoji"] == "🍲"
    watcher.close()


def test_nobody_hears_of_the_detail_of_a_hidden_user(friends):
    with friends.client(friends.ann) as ann, friends.client(friends.bob) as bob:
        ann.opened()
        bob.opened()
        patch(friends.system, friends.ann, {"visibility": "nobody"})
        assert bob.expect_change(friends.ann, "offline")["detail"] is None
        patch(friends.system, friends.ann, {"availability": "dnd", "text": "secret"})
        friends.idle(ann)
        friends.idle(ann, idle=False)
        answer = call_as(
            friends.system, friends.bob, "GET", "/api/friends/online-status?detail=1"
        ).json["data"]
        assert answer == {
            "statuses": {friends.ann: False},
            "details": {friends.ann: None},
        }
        patch(friends.system, friends.ann, {"visibility": "everyone"})
        visible = bob.expect("friend_status_changed")
        assert visible["status"] == "online"
        assert visible["detail"]["availability"] == "dnd"
        # It was set before, which stays hidden.
        assert visible["detail"]["since"] == visible["timestamp"]
        assert not any(one["event"] == "friend_detail_changed" for one in bob.seen)
        patch(friends.system, friends.ann, {"text": "hello"})
        changed = bob.expect("friend_detail_changed")["detail"]
        assert changed["since"] == visible["timestamp"]


def test_rest_has_details_for_callers_that_ask(friends):
    patch(friends.system, friends.ann, {"text": "in Rome", "emoji": "🛵"})
    conversation = friends.ann + "-c"
    body = {"title": "", "participants": [friends.ann, friends.bob]}
    friends.system.admin("PUT", f"/conversations/{conversation}", body)

    def get(path):
        return call_as(friends.system, friends.bob, "GET", path).json["data"]

    with friends.client(friends.ann) as ann:
        ann.opened()
        shown = get(f"/api/users/{friends.ann}/status?detail=1")["detail"]
        assert (shown["availability"], shown["text"]) == ("active", "in Rome")
        for path in (
            "/api/friends/online-status",
            "/api/conversations/online-status",
            f"/api/conversations/{conversation}/online-status",
        ):
            answer = get(path + "?detail=1")
            assert answer["statuses"][friends.ann] is True
            assert answer["details"][friends.ann] == shown
            assert answer["details"].keys() == answer["statuses"].keys()
            assert get(path).keys() == {"statuses"}
    assert "detail" not in get(f"/api/users/{friends.ann}/status")


@pytest.mark.parametrize("data", [{}, {"idle": 1}, {"idle": None}, {"idle": "true"}])
def test_a_bad_activity_is_an_error_and_changes_nothing(friends, data):
    with friends.client(friends.ann) as ann:
        ann.opened()
        ann.send("activity", data)
        error = ann.expect("error")
        assert error == {"code": "bad_frame", "message": "idle must be true or false"}
        ann.send("heartbeat")
        ann.expect("heartbeat_ack")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"availability": "busy"}, "availability: takes active, away or dnd"),
        ({"availability": ""}, "availability"),
        ({"availability": True}, "availability"),
        ({"text": ""}, "text: takes text of 1 to 140 characters"),
        ({"text": "x" * 141}, "text"),
        ({"text": "two\nlines"}, "text"),
        ({"text": "two\u2028lines"}, "text"),
        ({"text": 5}, "text"),
        ({"text": " \u3000 "}, "text: takes text with at least one visible character"),
        ({"text": "\u200b\u2060"}, "text: takes text with at least one visible"),
        ({"text": "back at \u202e5 pm"}, "text: takes text without controls of the"),
        ({"emoji": "ab"}, "emoji: takes one emoji"),
        ({"emoji": "🌴🌴"}, "emoji"),
        ({"text": "x", "expires_at": 1}, "expires_at: takes a time in the future"),
        ({"text": "x", "expires_at": "tomorrow"}, "expires_at"),
        ({"text": "x", "expires_at": 2**53}, "expires_at"),
        ({"text": "x", "expires_at": 4e12}, "expires_at"),
        ({"expires_at": 4102444800000}, "expires_at: takes a time only together with"),
        ({"status": "online"}, "status: is no setting"),
        ({"detail": None}, "detail: is no setting"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_stored(steady, fields, named):
    good = {"visibility": "friends", **fields}
    answer = mine(steady, "d-wrong", "PATCH", good)
    assert answer.status == 400
    assert named in answer.json["error"]["message"]
    data = mine(steady, "d-wrong").json["data"]
    assert (data["visibility"], data["text"]) == ("everyone", None)


def test_140_characters_and_null_are_taken(steady):
    text = "é" * 139 + "🌴"
    assert patch(steady, "d-long", {"text": text})["text"] == text
    end = int(time.time() * 1000) + 60_000
    assert patch(steady, "d-long", {"expires_at": end})["expires_at"] == end
    data = patch(steady, "d-long", {"text": None})
    assert (data["text"], data["expires_at"]) == (None, None)
