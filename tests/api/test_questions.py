"""What the host may ask: online status, pages of online users, counts, reachability."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.api.options import cursor_text
from models.detail import Layer, Layers
from models.events import Availability
from models.presence.store import ClosedConnection, LiveConnection
from models.sql import graph
from models.sql.presence_settings import put_settings
from models.visibility import PresenceSettings, Visible
from tests.api.test_admin import call, client, services  # noqa: F401 - fixtures

pytestmark = pytest.mark.integration


class People:
    """Users of one test, and a gateway that holds them."""

    def __init__(self, current):
        self.name = uuid4().hex[:8]
        self.gateway = f"web.{self.name}:aa-v3"
        self.presence = current.presence
        self.sessions = current.sessions

    def id(self, name):
        return f"{name}-{self.name}"

    def connect(self, *names, number=1, idle=False):
        live = [
            LiveConnection(self.id(name), f"{self.gateway}:{number}", is_idle=idle)
            for name in names
        ]
        self.presence.shards[0].store.connect(self.gateway, live)

    def set_to(self, name, settings):
        with self.sessions() as session:
            graph.put_user(session, self.id(name), name)
            put_settings(session, self.id(name), settings)
            session.commit()


@pytest.fixture
def people(services):  # noqa: F811
    return People(services)


def data(answer):
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()["data"]


def error_of(answer):
    return answer.status_code, answer.get_json()["error"]["message"]


def test_which_of_these_are_online(call, people):  # noqa: F811
    people.connect("ann", "bob")
    people.set_to("bob", PresenceSettings(visibility=Visible.NOBODY))
    asked = [people.id(name) for name in ("ann", "bob", "cid", "ann")]
    found = data(call("POST", "/online-status", {"user_ids": asked}))
    # The host gets the truth, also about users who hide.
    assert found["statuses"] == dict(zip(asked, (True, True, False), strict=False))
    assert data(call("POST", "/online-status", {"user_ids": []})) == {"statuses": {}}


def test_with_detail(call, people):  # noqa: F811
    people.connect("ann", idle=True)
    people.connect("ann", number=2, idle=True)
    layer = Layer(text="in Rome", emoji="🛵")
    people.set_to("ann", PresenceSettings(layers=Layers(manual=layer)))
    ann, bob = people.id("ann"), people.id("bob")
    body = {"user_ids": [ann, bob], "detail": True}
    found = data(call("POST", "/online-status", body))["statuses"]
    assert found[bob] == {
        "status": "offline",
        "last_seen": None,
        "idle_since": None,
        "devices": 0,
        "detail": None,
    }
    assert found[ann]["status"] == "online"
    assert found[ann]["devices"] == 2
    assert found[ann]["last_seen"] > 0
    detail = found[ann]["detail"]
    assert detail["availability"] == "away"
    assert detail["since"] == found[ann]["idle_since"]
    assert (detail["text"], detail["emoji"]) == ("in Rome", "🛵")


def test_a_released_device_is_not_open(call, people):  # noqa: F811
    people.connect("ann")
    people.connect("ann", number=2)
    ann = people.id("ann")
    closed = ClosedConnection(ann, f"{people.gateway}:2", grace_ms=60_000)
    people.presence.shards[0].store.release(people.gateway, [closed])
    body = {"user_ids": [ann], "detail": True}
    assert data(call("POST", "/online-status", body))["statuses"][ann]["devices"] == 1


@pytest.mark.parametrize("detail", [False, True])
def test_ten_thousand_in_one_call(call, people, detail):  # noqa: F811
    names = [f"u{number}" for number in range(10_000)]
    people.connect(*names[:2000:7])
    asked = [people.id(name) for name in names]
    body = {"user_ids": asked, "detail": detail}
    found = data(call("POST", "/online-status", body))["statuses"]
    assert list(found) == asked
    online = {people.id(name) for name in names[:2000:7]}
    if detail:
        assert {one for one in asked if found[one]["status"] == "online"} == online
    else:
        assert {one for one in asked if found[one]} == online


def test_reachability_follows_its_rule(call, people):  # noqa: F811
    people.connect("here", "busy", "called")
    people.connect("idle", "gone", idle=True)
    dnd = Layer(Availability.DND)
    people.set_to("busy", PresenceSettings(layers=Layers(manual=dnd)))
    people.set_to("called", PresenceSettings(layers=Layers(host=dnd)))
    people.set_to("asleep", PresenceSettings(layers=Layers(manual=dnd)))
    away = Layer(Availability.AWAY)
    people.set_to("here", PresenceSettings(layers=Layers(manual=away)))
    names = ("here", "busy", "called", "idle", "asleep", "nobody")
    body = {"user_ids": [people.id(name) for name in names]}
    users = data(call("POST", "/reachability", body))["users"]
    found = {name: users[people.id(name)] for name in names}
    assert [found[name]["suggest"] for name in names] == [
        "socket",
        "silent",
        "silent",
        "push",
        "silent",
        "push",
    ]
    assert [found[name]["availability"] for name in names] == [
        "away",
        "dnd",
        "dnd",
        "away",
        "dnd",
        None,
    ]
    assert [found[name]["online"] for name in names] == [True] * 4 + [False] * 2
    assert found["idle"]["idle_for"] >= 0
    assert found["here"]["idle_for"] is None


@pytest.mark.parametrize(
    ("count", "limit"), [(3, 1), (3, 7), (3, 100), (700, 7), (700, 100)]
)
def test_pages_have_all_online_users_and_no_more_than_asked(call, people, count, limit):  # noqa: F811
    names = [f"p{number}" for number in range(count)]
    people.connect(*names)
    seen: set[str] = set()
    cursor = None
    for _ in range(10_000):
        query = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        page = data(call("GET", "/online-users" + query))
        assert len(page["user_ids"]) <= limit
        seen.update(page["user_ids"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert {people.id(name) for name in names} <= seen
    assert seen <= set(people.presence.online(seen))
    assert all(people.presence.online(seen).values())


def test_counts(call, people):  # noqa: F811
    before = data(call("GET", "/stats"))
    people.connect("ann")
    people.connect("ann", number=2)
    people.set_to("ann", PresenceSettings())
    gateways = people.presence.shards[0].gateways
    gateways.heartbeat(people.gateway, connections=2)
    after = data(call("GET", "/stats"))
    assert {key: after[key] - before[key] for key in after} == {
        "online_users": 1,
        "connections": 2,
        "gateways": 1,
        "users": 1,
    }
    gateways.forget(people.gateway)
    assert data(call("GET", "/stats"))["connections"] == before["connections"]


BAD = [
    ("POST", "/online-status", {}, "user_ids: takes a list of user ids"),
    ("POST", "/online-status", {"user_ids": "ann"}, "user_ids"),
    ("POST", "/online-status", {"user_ids": [1]}, "user_ids[0]"),
    ("POST", "/online-status", {"user_ids": ["a"] * 10_001}, "at most 10000 ids"),
    ("POST", "/online-status", {"user_ids": [], "detail": 1}, "detail: takes true"),
    ("POST", "/reachability", {"user_ids": ["a b"]}, "user_ids[0]"),
    ("GET", "/online-users?limit=0", None, "limit: takes a number from 1 to 1000"),
    ("GET", "/online-users?limit=1001", None, "limit"),
    ("GET", "/online-users?limit=x", None, "limit"),
    ("GET", "/online-users?limit=²", None, "limit"),
    ("GET", "/online-users?cursor=x", None, "cursor: takes the next_cursor"),
    ("GET", "/online-users?cursor=WzksICIwIiwgIiJd", None, "cursor"),
    ("GET", "/online-users?cursor=bnVsbA==", None, "cursor"),
    *(
        ("GET", f"/online-users?cursor={cursor_text(data)}", None, "cursor")
        for data in (
            b'[0.5, "0", ""]',
            b'["0", "0", ""]',
            b'[0, "18446744073709551616", ""]',
            b'[0, "-1", ""]',
            b'[0, null, ""]',
            b'[0, "x", ""]',
            b'[0, "0", 7]',
            b'[0, "0"]',
            b"{}",
        )
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "named"), BAD)
def test_a_bad_question_is_named(call, method, path, body, named):  # noqa: F811
    status, message = error_of(call(method, path, body))
    assert status == 400
    assert named in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/online-status"),
        ("POST", "/reachability"),
        ("GET", "/online-users"),
        ("GET", "/stats"),
    ],
)
def test_only_the_host_may_ask(client, method, path):  # noqa: F811
    answer = client.open("/api/admin" + path, method=method, json={"user_ids": []})
    assert answer.status_code == 401
