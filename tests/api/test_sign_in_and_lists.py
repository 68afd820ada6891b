"""The host's sign-in in one call, lists of friends, pages, participants, deletions."""

from __future__ import annotations

import time
from uuid import uuid4

import jwt
import pytest
from sqlalchemy import select

from app.api import offload
from models.events import GatewayMessage, VisibilityChange
from models.identifiers import ids_in
from models.presence.store import LiveConnection
from models.presence.tickets import Ticket
from models.sql import graph, pages
from models.sql.presence_settings import put_settings
from models.sql.user import User, user_table
from models.visibility import PresenceSettings, Visible
from tests.api.test_admin import (  # noqa: F401 - fixtures
    KEY,
    call,
    client,
    engine_of,
    error,
    people,
    services,
)
from tests.databases import statements

pytestmark = pytest.mark.integration
# ruff: noqa: F811 - fixtures


def data(answer):
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json["data"]


def users(services):
    with services.sessions() as session:
        return {user.id: user.display_name for user in session.scalars(select(User))}


class Watched:
    """A gateway that holds users, and what it is told."""

    def __init__(self, services, *names):
        self.suffix = uuid4().hex[:8]
        self.gateway = f"test:{self.suffix}-v3"
        self.presence = services.presence
        self._after = "0-0"
        shard = self.presence.shards[0]
        shard.gateways.heartbeat(self.gateway)
        for number, name in enumerate(names):
            live = LiveConnection(self.id(name), f"{self.gateway}:{number}")
            shard.store.connect(self.gateway, [live])

    def id(self, name):
        return f"{name}-{self.suffix}"

    def told(self) -> list[GatewayMessage]:
        read = self.presence.gateway_streams.read(self.gateway, self._after, wait_ms=1)
        self._after = read.messages[-1][0] if read.messages else self._after
        return [message for _, message in read.messages]

    def name(self, user_id):
        return user_id.removesuffix(f"-{self.suffix}")

    def introductions(self, *messages):
        return {
            (self.name(one.transition.user_id), self.name(viewer))
            for message in messages
            for one in message.introductions
            for viewer in ids_in(one.recipients)
        }


# Sign-in


def test_a_ticket_stands_for_a_user_whom_the_call_creates(call, services):
    found = data(call("POST", "/users/ann/ticket"))
    assert found.keys() == {"ticket", "expires_in", "token", "token_expires_in"}
    assert (found["expires_in"], found["token_expires_in"]) == (30, 3600)
    taken = services.presence.tickets.take(found["ticket"])
    assert isinstance(taken, Ticket)
    assert taken.user_id == "ann"
    assert users(services) == {"ann": "ann"}

    identity = services.tokens.read(found["token"])
    assert identity.user_id == "ann"
    claims = jwt.decode(found["token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["iat"] <= time.time()


def test_the_token_of_a_sign_in_is_taken_by_rest(client, call):
    token = data(call("POST", "/users/ann/ticket", {"friends": ["bob"]}))["token"]
    headers = {"Authorization": f"Bearer {token}"}
    found = data(client.get("/api/users/bob/status", headers=headers))
    assert (found["user_id"], found["status"]) == ("bob", "offline")
    assert client.get("/api/users/cid/status", headers=headers).status_code == 403


def test_a_sign_in_keeps_what_it_is_not_given(call, services):
    call("POST", "/users/ann/ticket", {"display_name": "Ann", "friends": ["bob"]})
    for body in (None, {}, {"display_name": None, "friends": None}):
        data(call("POST", "/users/ann/ticket", body))
        assert users(services) == {"ann": "Ann", "bob": "bob"}
        assert data(call("GET", "/users/ann/friends")) == {"friends": ["bob"]}
    call("POST", "/users/ann/ticket", {"display_name": "Anna", "friends": []})
    assert users(services) == {"ann": "Anna", "bob": "bob"}
    assert data(call("GET", "/users/ann/friends")) == {"friends": []}


def test_a_repeated_sign_in_writes_nothing(call, services):
    body = {"display_name": "Ann", "friends": ["bob", "cid"]}
    call("POST", "/users/ann/ticket", body)
    with statements(engine_of(services)) as sent:
        data(call("POST", "/users/ann/ticket", body))
    assert sent
    assert [one for one in sent if not one.startswith("SELECT")] == []


def test_a_bad_sign_in_stores_nothing(call, services):
    body = {"display_name": "Ann", "friends": ["bob", "b b"]}
    status, code, message = error(call("POST", "/users/ann/ticket", body))
    assert (status, code) == (400, "invalid_id")
    assert message.startswith("friends[1]: 'b b'")
    assert users(services) == {}


# Friends


@pytest.mark.usefixtures("people")
def test_friends_are_replaced_and_read(call):
    call("PUT", "/friendships/ann/bob", {"status": "accepted"})
    call("PUT", "/friendships/cid/ann", {"status": "pending"})
    call("PUT", "/friendships/ann/dan", {"status": "blocked"})
    for _ in range(2):
        answer = call("PUT", "/users/ann/friends", {"friends": ["eve", "cid", "cid"]})
        assert data(answer) == {"friends": ["cid", "eve"]}
    assert data(call("GET", "/users/ann/friends")) == {"friends": ["cid", "eve"]}
    assert data(call("GET", "/users/bob/friends")) == {"friends": []}
    assert data(call("GET", "/users/eve/friends")) == {"friends": ["ann"]}
    expected = (404, "not_found", "there is no user nobody")
    assert error(call("GET", "/users/nobody/friends")) == expected


@pytest.mark.usefixtures("people")
def test_a_blocked_pair_stays_blocked(call):
    call("PUT", "/friendships/ann/bob", {"status": "blocked"})
    answer = call("PUT", "/users/ann/friends", {"friends": ["bob", "cid"]})
    assert data(answer) == {"friends": ["cid"]}
    assert data(call("PUT", "/users/ann/friends", {"friends": []})) == {"friends": []}
    again = call("PUT", "/friendships/ann/bob", {"status": "blocked"})
    assert again.status_code == 200, "it was there all the time"


def test_users_who_are_online_hear_of_replaced_friends(call, services):
    watched = Watched(services, "ann", "bob", "cid")
    ann, bob, cid = map(watched.id, ("ann", "bob", "cid"))
    path = f"/users/{ann}/friends"
    call("PUT", path, {"friends": [bob]})
    assert watched.introductions(*watched.told()) == {("ann", "bob"), ("bob", "ann")}

    call("PUT", path, {"friends": [cid]})
    introduced, refreshed = watched.told()
    assert watched.introductions(introduced) == {("ann", "cid"), ("cid", "ann")}
    assert set(refreshed.snapshots) == {ann, bob}

    call("PUT", path, {"friends": [cid]})
    call("POST", f"/users/{ann}/ticket", {"friends": [cid]})
    assert watched.told() == [], "nothing changed, so nobody hears anything"


def test_replaced_friends_keep_to_the_privacy_settings(call, services):
    """Ann shows herself to friends. Bob, who shares a conversation, becomes one, and
    cid is one no more."""
    watched = Watched(services, "ann", "bob", "cid")
    ann, bob, cid = map(watched.id, ("ann", "bob", "cid"))
    call("PUT", f"/users/{bob}/friends", {"friends": []})
    call("PUT", f"/users/{ann}/friends", {"friends": [cid]})
    call("PUT", f"/conversations/{ann}", {"participants": [ann, bob, cid]})
    with services.sessions() as session:
        put_settings(session, ann, PresenceSettings(visibility=Visible.FRIENDS))
        session.commit()
    watched.told()

    call("PUT", f"/users/{ann}/friends", {"friends": [bob]})
    # The three stay relevant to each other, so there are neither introductions nor
    # snapshots. But ann comes online for bob, and goes offline for cid.
    assert watched.told() == []
    outbox = services.presence.shards[0].outbox
    contents = [entry.content for entry in outbox.take("t", [], 100_000, 0) or ()]
    outbox.release_lease("t", unfinished=True)
    (change,) = [
        one
        for one in contents
        if isinstance(one, VisibilityChange) and one.user_id == ann
    ]
    assert (change.online_to, change.offline_to) == (bob, cid)


# Pages


@pytest.mark.usefixtures("people")
def test_users_in_pages(call):
    first = data(call("GET", "/users?limit=2"))
    assert [user["id"] for user in first["users"]] == ["ann", "bob"]
    assert first["users"][0] == {"id": "ann", "display_name": "Ann"}
    # Neither a user who is deleted meanwhile moves the others, nor a new one.
    call("DELETE", "/users/bob")
    call("PUT", "/users/abe", {"display_name": "Abe"})
    second = data(call("GET", f"/users?limit=2&cursor={first['next_cursor']}"))
    cid = {"id": "cid", "display_name": "Cid"}
    assert second == {"users": [cid], "next_cursor": None}
    assert data(call("GET", "/users?limit=3"))["next_cursor"] is None
    assert len(data(call("GET", "/users"))["users"]) == 3


def test_an_empty_list_has_one_page(call):
    assert data(call("GET", "/users")) == {"users": [], "next_cursor": None}
    found = data(call("GET", "/conversations"))
    assert found == {"conversations": [], "next_cursor": None}


def test_ids_of_all_kinds_are_on_exactly_one_page(call):
    """In the order of their bytes, on both databases. A cursor needs no encoding."""
    ids = ["a+b", "a|b", "a@b", "a:b", "A", "Z", "a", "a-b", "a.b", "a_b", "0"]
    ids = sorted(ids)
    named = [{"id": key, "display_name": "x"} for key in ids]
    talks = [{"id": key, "participants": []} for key in ids]
    call("POST", "/bulk", {"users": named, "conversations": talks})
    for kind in ("users", "conversations"):
        found, query = [], "?limit=1"
        for _ in ids:
            page = data(call("GET", f"/{kind}{query}"))
            found += [one["id"] for one in page[kind]]
            query = f"?limit=1&cursor={page['next_cursor']}"
        assert found == ids
        assert page["next_cursor"] is None


@pytest.mark.usefixtures("people")
def test_conversations_in_pages(call, monkeypatch):
    talks = [
        {"id": "c1", "title": "One", "participants": ["cid", "ann"]},
        {"id": "c2", "title": "", "participants": []},
        {"id": "c3", "title": "Three", "participants": ["ann", "bob", "cid"]},
    ]
    call("POST", "/bulk", {"conversations": talks})
    talks[0]["participants"] = ["ann", "cid"]
    assert data(call("GET", "/conversations")) == {
        "conversations": talks,
        "next_cursor": None,
    }
    monkeypatch.setattr(pages, "MAX_PARTICIPANTS_PER_PAGE", 1)
    first = data(call("GET", "/conversations"))
    assert first["conversations"] == talks[:1], "one, however large it is"
    # The second and the third have too many together.
    second = data(call("GET", f"/conversations?cursor={first['next_cursor']}"))
    assert second["conversations"] == talks[1:2]
    third = data(call("GET", f"/conversations?cursor={second['next_cursor']}"))
    assert third == {"conversations": talks[2:], "next_cursor": None}


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/users", ("PUT", "/users/ann", {"display_name": "Anna"})),
        ("/users?limit=1", ("PUT", "/users/ann", {"display_name": "Anna"})),
        ("/conversations", ("POST", "/conversations/c/participants/bob", None)),
        ("/users/ann/friends", ("PUT", "/friendships/ann/bob", {"status": "accepted"})),
    ],
)
def test_a_list_that_is_the_same_is_not_sent_again(client, call, path, change):
    call("PUT", "/conversations/c", {"participants": ["ann"]})

    def get(etag):
        headers = {"Authorization": f"Bearer {KEY}"}
        return client.get(
            f"/api/admin{path}", headers=headers | {"If-None-Match": etag}
        )

    first = call("GET", path)
    assert first.status_code == 200
    same = get(first.headers["ETag"])
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert get(f'"other", {first.headers["ETag"]}').status_code == 304
    assert get('"other"').status_code == 200
    assert call(*change).status_code in {200, 201}
    after = get(first.headers["ETag"])
    assert after.status_code == 200
    assert after.data != first.data


# Participants


@pytest.mark.usefixtures("people")
def test_participants_join_and_leave_one_by_one(call):
    call("PUT", "/conversations/c", {"title": "Talk", "participants": ["ann"]})
    path = "/conversations/c/participants/bob"
    created, again = call("POST", path), call("POST", path)
    assert (created.status_code, again.status_code) == (201, 200)
    stored = {"data": {"conversation_id": "c", "user_id": "bob"}}
    assert created.json == again.json == stored
    found = data(call("GET", "/conversations/c"))
    assert found == {"id": "c", "title": "Talk", "participants": ["ann", "bob"]}
    for _ in range(2):
        assert call("DELETE", path).status_code == 204
    assert data(call("GET", "/conversations/c"))["participants"] == ["ann"]


@pytest.mark.usefixtures("people")
def test_a_participant_of_nothing_or_who_is_nobody(call, monkeypatch):
    path = "/conversations/c/participants"
    expected = (404, "not_found", "there is no conversation c")
    assert error(call("POST", f"{path}/ann")) == expected
    call("PUT", "/conversations/c", {"participants": ["ann"]})
    expected = (409, "unknown_user", "unknown user: nobody")
    assert error(call("POST", f"{path}/nobody")) == expected
    for missing in ("/conversations/none/participants/ann", f"{path}/nobody"):
        assert call("DELETE", missing).status_code == 204
    monkeypatch.setattr(graph, "MAX_PARTICIPANTS", 1)
    status, code, message = error(call("POST", f"{path}/bob"))
    assert (status, code) == (400, "bad_request")
    assert "participants: conversation c has 2 participants; at most 1" in message
    assert call("POST", f"{path}/ann").status_code == 200


def test_users_who_are_online_hear_who_joined_and_who_left(call, services):
    watched = Watched(services, "ann", "bob")
    ann, bob = map(watched.id, ("ann", "bob"))
    named = [{"id": key, "display_name": "x"} for key in (ann, bob)]
    talk = {"id": "c", "participants": [ann]}
    call("POST", "/bulk", {"users": named, "conversations": [talk]})
    call("POST", f"/conversations/c/participants/{bob}")
    assert watched.introductions(*watched.told()) == {("ann", "bob"), ("bob", "ann")}
    call("DELETE", f"/conversations/c/participants/{bob}")
    (message,) = watched.told()
    assert set(message.snapshots) == {ann, bob}


# Deletions in bulk, and large calls


@pytest.mark.usefixtures("people")
def test_a_bulk_deletes_and_creates(call, services):
    call("PUT", "/friendships/ann/cid", {"status": "accepted"})
    call("PUT", "/conversations/old", {"participants": ["ann", "cid"]})
    body = {
        "users": [{"id": "dan", "display_name": "Dan"}],
        "friendships": [["ann", "dan"]],
        "delete": {
            "users": ["bob", "nobody"],
            "friendships": [["cid", "ann"], ["cid", "nobody"]],
            "conversations": ["old", "none"],
        },
    }
    for _ in range(2):
        answer = data(call("POST", "/bulk", body))
        assert answer == {"users": 1, "friendships": 1, "conversations": 0}
        assert users(services).keys() == {"ann", "cid", "dan"}
        assert data(call("GET", "/users/ann/friends")) == {"friends": ["dan"]}
        assert data(call("GET", "/conversations"))["conversations"] == []


@pytest.mark.usefixtures("people")
def test_a_bulk_that_fails_deletes_nothing(call, services):
    body = {"friendships": [["ann", "ghost"]], "delete": {"users": ["bob"]}}
    assert error(call("POST", "/bulk", body))[:2] == (409, "unknown_user")
    assert "bob" in users(services)


def test_a_bulk_closes_the_sockets_of_users_whom_it_deletes(call, services):
    watched = Watched(services, "ann", "bob")
    ann, bob = map(watched.id, ("ann", "bob"))
    named = [{"id": key, "display_name": "x"} for key in (ann, bob)]
    call("POST", "/bulk", {"users": named, "friendships": [[ann, bob]]})
    watched.told()
    call("POST", "/bulk", {"delete": {"users": [bob]}})
    refreshed, closed = watched.told()
    assert set(refreshed.snapshots) == {ann, bob}
    assert closed.disconnects == (bob,)


def test_a_conversation_too_large_for_single_events_is_told_by_snapshots(
    call, services, monkeypatch
):
    watched = Watched(services, "ann", "bob")
    ann, bob = map(watched.id, ("ann", "bob"))
    named = [{"id": key, "display_name": "x"} for key in (ann, bob)]
    call("POST", "/bulk", {"users": named})
    monkeypatch.setattr(graph, "MAX_PAIRS", 0)
    call("PUT", "/conversations/c", {"participants": [ann, bob]})
    (message,) = watched.told()
    assert message.introductions == ()
    assert set(message.snapshots) == {ann, bob}


def test_a_process_of_its_own_serves_large_calls_only(call, monkeypatch):
    served = []
    monkeypatch.setattr("app.api.admin.serve_offloaded", lambda: served.append(1))
    monkeypatch.setattr(offload, "MAX_FRIENDS_CHANGED", 2)
    monkeypatch.setattr(offload, "MAX_DELETED_USERS", 1)
    monkeypatch.setattr(offload, "MAX_MEMBERS", 1)

    def is_large(method, path, body=None):
        served.clear()
        assert call(method, path, body).status_code in {200, 201, 204}
        return bool(served)

    friends = {"friends": ["bob", "cid", "dan"]}
    assert is_large("PUT", "/users/ann/friends", friends)
    assert not is_large("PUT", "/users/ann/friends", friends), "nothing changes"
    assert not is_large("POST", "/users/ann/ticket", friends)
    assert not is_large("POST", "/users/ann/ticket")
    assert is_large("POST", "/users/ann/ticket", {"friends": []})
    assert not is_large("POST", "/bulk", {"delete": {"users": ["bob"]}})
    assert is_large("POST", "/bulk", {"delete": {"users": ["cid", "dan"]}})
    call("PUT", "/conversations/c", {"participants": ["ann"]})
    assert not is_large("POST", "/bulk", {"delete": {"conversations": ["c"]}})
    call("PUT", "/users/eve", {"display_name": "Eve"})
    call("PUT", "/conversations/c", {"participants": ["ann", "eve"]})
    assert is_large("POST", "/bulk", {"delete": {"conversations": ["c"]}})


@pytest.mark.slow
def test_a_list_of_as_many_of_the_longest_ids_as_allowed_is_taken(call, services):
    ids = [f"{number:0128d}" for number in range(5000)]
    found = call("PUT", "/users/ann/friends", {"friends": ids})
    assert data(found) == {"friends": ids}
    ticket = call("POST", "/users/ann/ticket", {"friends": ids})
    assert data(ticket)["ticket"]
    with services.sessions() as session:
        assert len(session.scalars(select(user_table.c.id)).all()) == 5001
