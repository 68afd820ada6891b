"""What the host is told about one user, and what a viewer of that user sees."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import pytest
from click.testing import Result

from models.detail import Layer, Layers
from models.events import Availability
from models.presence.store import ClosedConnection
from models.sql import graph
from models.sql.friendship import FriendshipStatus
from models.sql.graph import ConversationRecord
from models.visibility import PresenceSettings, Visible
from tests.api.test_admin import call, client, services  # noqa: F401 - fixtures
from tests.api.test_questions import data, error_of, people  # noqa: F401
from tests.clients import Client
from tests.system import SERVICE_KEY, System

pytestmark = pytest.mark.integration

END = 4102444800005
"""2100-01-01, and 5 ms."""


def empty_outbox(people):  # noqa: F811
    outbox = people.presence.shards[0].outbox
    while taken := outbox.take("token"):
        outbox.take("token", taken, limit=1)


@pytest.fixture
def explained(call, people):  # noqa: F811
    # Tests of other files may have left more than an explanation looks through.
    empty_outbox(people)

    def ask(name, viewer=None):
        query = f"?viewer={people.id(viewer)}" if viewer else ""
        return data(call("GET", f"/users/{people.id(name)}/explain{query}"))

    return ask


def relate(people, *, friendship=None, together=False):  # noqa: F811
    ann, bob = people.id("ann"), people.id("bob")
    talk = ConversationRecord(people.id("talk"), "Talk", frozenset({ann, bob}))
    with people.sessions() as session:
        graph.load_bulk(
            session,
            {ann: "Ann", bob: "Bob"},
            [(ann, bob, friendship)] if friendship else [],
            [talk] if together else [],
        )
        session.commit()


def test_a_user_without_a_connection(explained, people):  # noqa: F811
    people.set_to("ann", PresenceSettings())
    assert explained("ann") == {
        "status": "offline",
        "connections": [],
        "transitions": [],
        "detail": {
            **dict.fromkeys(("availability", "text", "emoji", "expires_at", "since")),
            "layers": {"manual": None, "host": None, "found_out": None},
        },
        "viewer": None,
    }


def test_connections_their_idleness_and_their_grace(explained, people, services):  # noqa: F811
    people.set_to("ann", PresenceSettings())
    ann = people.id("ann")
    people.connect("ann")
    people.connect("ann", number="19b76daa800", idle=True)
    closed = ClosedConnection(ann, f"{people.gateway}:1", grace_ms=60_000)
    before = people.presence.now()
    people.presence.shards[0].store.release(people.gateway, [closed])
    opened, in_grace = sorted(
        explained("ann")["connections"], key=lambda one: one["in_grace"]
    )
    online_ttl = int(1000 * services.settings.online_ttl)
    assert opened == {
        "gateway": people.gateway,
        "opened_at": 1767225600000,
        "last_heartbeat": opened["deadline"] - online_ttl,
        "deadline": opened["deadline"],
        "in_grace": False,
        "idle": True,
    }
    assert opened["last_heartbeat"] <= before
    assert in_grace == {
        "gateway": people.gateway,
        "opened_at": None,  # as of a gateway of an older version
        "last_heartbeat": None,
        "deadline": in_grace["deadline"],
        "in_grace": True,
        "idle": False,
    }
    assert in_grace["deadline"] >= before + 60_000


def test_transitions_that_wait_in_the_outbox(explained, people):  # noqa: F811
    people.set_to("ann", PresenceSettings())
    ann, store = people.id("ann"), people.presence.shards[0].store
    people.connect("ann", "bob")
    store.record_detail_change(ann)
    store.release(people.gateway, [ClosedConnection(ann, f"{people.gateway}:1", 0)])
    store.expire([ann])
    offline, online = explained("ann")["transitions"]
    assert (offline["status"], online["status"]) == ("offline", "online")
    assert offline["timestamp"] > online["timestamp"]
    assert offline["waiting"] is online["waiting"] is True
    empty_outbox(people)
    assert explained("ann")["transitions"] == [{**offline, "waiting": False}]


def test_the_layers_of_the_detail(explained, people):  # noqa: F811
    manual = Layer(text="in Rome")
    host = Layer(Availability.DND, text="at work", since=17, expires_at=2**50)
    people.set_to("ann", PresenceSettings(layers=Layers(manual, host)))
    people.connect("ann", idle=True)
    detail = explained("ann")["detail"]
    layers = detail.pop("layers")
    assert detail == {
        "availability": "dnd",
        "text": "in Rome",
        "emoji": None,
        "expires_at": 2**50,
        "since": 17,
    }
    assert layers["manual"]["text"] == "in Rome"
    assert layers["host"] == {
        "availability": "dnd",
        "text": "at work",
        "emoji": None,
        "since": 17,
        "expires_at": 2**50,
    }
    assert layers["found_out"]["availability"] == "away"


NOBODY = PresenceSettings(visibility=Visible.NOBODY)
FRIENDS = PresenceSettings(visibility=Visible.FRIENDS)
NEITHER = "ANN and BOB are neither friends nor in a conversation"
TOGETHER = "ANN and BOB share a conversation, but are not friends"
CASES = [
    ({}, None, None, NEITHER),
    (
        {"friendship": FriendshipStatus.PENDING},
        None,
        None,
        NEITHER + " (their friendship is pending)",
    ),
    (
        {"friendship": FriendshipStatus.BLOCKED, "together": True},
        None,
        None,
        "ANN and BOB are blocked",
    ),
    (
        {"friendship": FriendshipStatus.ACCEPTED},
        None,
        "online",
        "ANN and BOB are friends, and ANN's visibility is everyone",
    ),
    (
        {"friendship": FriendshipStatus.ACCEPTED},
        NOBODY,
        "offline",
        "ANN and BOB are friends, and ANN's visibility is nobody: ANN is invisible",
    ),
    (
        {"together": True},
        FRIENDS,
        "offline",
        f"{TOGETHER}, and ANN's visibility is friends",
    ),
]


@pytest.mark.parametrize(("relation", "settings", "status", "rule"), CASES)
def test_what_a_viewer_sees_and_why(
    explained,
    people,  # noqa: F811
    relation,
    settings,
    status,
    rule,
):
    relate(people, **relation)
    if settings:
        people.set_to("ann", settings)
    people.connect("ann")
    found = explained("ann", "bob")
    assert found["status"] == "online"
    words = rule.replace("ANN", people.id("ann")).replace("BOB", people.id("bob"))
    assert found["viewer"]["status"] == status
    assert found["viewer"]["rule"] == words
    assert (found["viewer"]["last_seen_rule"] is None) == (status is None)


@pytest.mark.parametrize(
    ("kind", "visibility", "status"),
    [("never", Visible.EVERYONE, "offline"), ("always", Visible.NOBODY, "online")],
)
def test_an_exception_decides(explained, people, kind, visibility, status):  # noqa: F811
    relate(people, together=True)
    ann, bob = people.id("ann"), people.id("bob")
    exception = {kind: frozenset({bob})}
    people.set_to("ann", PresenceSettings(visibility, **exception))
    people.connect("ann")
    seen = explained("ann", "bob")["viewer"]
    assert seen["status"] == status
    assert seen["rule"].endswith(f", and {ann} has {bob} in the list {kind}")
    hidden = seen["last_seen_rule"].endswith(", as of the moment of hiding")
    assert hidden == (status == "offline")


@pytest.mark.parametrize("hides", ["ann", "bob"])
def test_whose_setting_hides_last_seen(explained, people, hides):  # noqa: F811
    relate(people, friendship=FriendshipStatus.ACCEPTED)
    people.connect("ann")
    before = explained("ann", "bob")["viewer"]
    assert before["last_seen"] > 0
    assert before["last_seen_rule"].startswith("shown")
    people.set_to(hides, PresenceSettings(last_seen=Visible.NOBODY))
    after = explained("ann", "bob")["viewer"]
    assert (after["status"], after["last_seen"]) == ("online", None)
    words = f"hidden by the setting of {people.id(hides)}: last_seen is nobody"
    assert after["last_seen_rule"] == words


def test_a_user_sees_itself(explained, people):  # noqa: F811
    people.set_to("ann", NOBODY)
    people.connect("ann")
    seen = explained("ann", "ann")["viewer"]
    assert seen["status"] == "online"
    assert seen["rule"] == f"{people.id('ann')} is the viewer"


def test_what_another_program_has_stored_is_left_out(explained, people):  # noqa: F811
    people.set_to("ann", PresenceSettings())
    keys = people.presence._keys_of(people.id("ann"))
    ann = people.id("ann")
    run = people.presence._backend.run
    run(keys.shard, [("SET", keys.user_connections(ann), "text")])
    run(keys.shard, [("HSET", keys.user_status(ann), "updated_at", "x", "status", "y")])
    found = explained("ann")
    assert (found["connections"], found["transitions"]) == ([], [])


def test_unknown_users_and_bad_ids(call, client, people):  # noqa: F811
    people.set_to("ann", PresenceSettings())
    ann, nobody = people.id("ann"), people.id("nobody")
    unknown = (404, f"there is no user {nobody}")
    assert error_of(call("GET", f"/users/{nobody}/explain")) == unknown
    path = f"/users/{ann}/explain?viewer="
    assert error_of(call("GET", path + nobody)) == unknown
    status, message = error_of(call("GET", path + quote("a b")))
    assert status == 400
    assert "viewer" in message
    assert client.get(f"/api/admin/users/{ann}/explain").status_code == 401


def test_the_command_says_the_same(client, people):  # noqa: F811
    def run(*arguments: str) -> Result:
        return client.application.test_cli_runner().invoke(args=["explain", *arguments])

    empty_outbox(people)
    relate(people, friendship=FriendshipStatus.ACCEPTED)
    ann, bob = people.id("ann"), people.id("bob")
    host = Layer(Availability.DND, since=1767225600000, expires_at=END)
    people.set_to("ann", PresenceSettings(layers=Layers(host=host)))
    people.connect("ann", number="19b76daa800")
    done = run(ann, "--viewer", bob)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith(f"{ann} is online (")
    opened = f"{people.gateway}, active, opened 2026-01-01 00:00:00.000 UTC, "
    assert opened in done.output
    assert "online, waits in the outbox" in done.output
    assert "  manual: nothing" in lines
    since, until = "2026-01-01 00:00:00.000 UTC", "2100-01-01 00:00:00.005 UTC"
    host_line = f"  host: dnd, since {since}, until {until}"
    assert host_line in lines
    rule = f"{ann} and {bob} are friends, and {ann}'s visibility is everyone"
    assert f"{bob} sees: online, because {rule}" in lines
    offline = run(bob)
    assert "detail: not shown, the user is offline" in offline.output
    assert run(people.id("x")).output == f"Error: there is no user {people.id('x')}\n"
    assert run(ann, "--viewer", "a b").exit_code == 2


@pytest.mark.e2e
def test_a_real_connection_says_when_it_was_opened(system: System):
    own = uuid4().hex[:8]  # another test of the shared system revokes ann
    one, other = f"ann-{own}", f"bob-{own}"
    system.befriend(one, other)
    with (
        Client(system, other, web=1).opened() as bob,
        Client(system, one).opened() as ann,
    ):
        bob.expect_change(one, "online")
        ann.send("heartbeat")
        connected = ann.seen[0]["data"]
        _, answer = system.request(
            "GET", f"/api/admin/users/{one}/explain?viewer={other}", token=SERVICE_KEY
        )
        found = answer["data"]
        (connection,) = found["connections"]
        gateway, _, number = connected["connection_id"].rpartition(":")
        assert connection["gateway"] == gateway
        assert connection["opened_at"] == int(number, 16)
        assert connection["last_heartbeat"] >= connection["opened_at"] - 1000
        assert [one["status"] for one in found["transitions"]] == ["online"]
        assert found["viewer"]["status"] == "online"
