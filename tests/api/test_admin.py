"""The admin routes, with a real database and a real Valkey behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app.api.openapi import document_bytes
from app.factory import create_app
from app.services import EXTENSION, Services
from config import Settings
from models.events import GatewayMessage
from models.identifiers import ids_in
from models.presence.store import LiveConnection
from models.sql.conversation import conversation_table
from models.sql.friendship import friendship_table
from models.sql.user import user_table
from tests.databases import statements
from tests.rest_document import RestDocument

pytestmark = pytest.mark.integration

KEY = "service-key-of-the-tests"
Call = Callable[..., TestResponse]


class CheckedClient(FlaskClient):
    """A client whose answers must be as the OpenAPI document says."""

    document: RestDocument | None = None

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        if self.document is None:
            parsed = json.loads(document_bytes(self.application))
            type(self).document = RestDocument(parsed)
        request = answer.request
        self.document.check(
            request.method,
            request.path,
            answer.status_code,
            dict(answer.headers),
            answer.data,
        )
        return answer


@pytest.fixture
def client(database_url: str, valkey_url: str) -> Iterator[FlaskClient]:
    app = create_app(
        Settings(
            database_url=database_url,
            redis_url=valkey_url,
            broker_url=valkey_url,
            jwt_secret="a secret of the tests, long enough for HS256",
            service_key=KEY,
        )
    )
    app.test_client_class = CheckedClient
    with app.test_client() as client:
        yield client
    current = app.extensions[EXTENSION]
    for engine in (current.database, engine_of(current)):
        engine.dispose()


@pytest.fixture
def services(client: FlaskClient) -> Services:
    return client.application.extensions[EXTENSION]


@pytest.fixture
def call(client: FlaskClient) -> Call:
    """`call("PUT", "/users/ann", {...})`, as the host application does it."""

    def send(method: str, path: str, body: object = None) -> TestResponse:
        return client.open(
            f"/api/admin{path}",
            method=method,
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
        )

    return send


@pytest.fixture
def people(call: Call) -> None:
    users = [
        {"id": name, "display_name": name.title()} for name in ("ann", "bob", "cid")
    ]
    assert call("POST", "/bulk", {"users": users}).status_code == 200


def engine_of(services: Services):
    return services.sessions.kw["bind"]


def count(services: Services, table) -> int:
    with services.sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def error(answer: TestResponse) -> tuple[int, str, str]:
    assert answer.json is not None
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == {"code", "message"}
    found = answer.json["error"]
    return answer.status_code, found["code"], found["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/users/ann"),
        ("GET", "/users/ann"),
        ("DELETE", "/users/ann"),
        ("POST", "/users/ann/disconnect"),
        ("POST", "/users/ann/ticket"),
        ("GET", "/users/ann/friends"),
        ("PUT", "/users/ann/friends"),
        ("GET", "/users"),
        ("GET", "/conversations"),
        ("POST", "/conversations/c/participants/ann"),
        ("DELETE", "/conversations/c/participants/ann"),
        ("PUT", "/friendships/ann/bob"),
        ("DELETE", "/friendships/ann/bob"),
        ("PUT", "/conversations/c"),
        ("GET", "/conversations/c"),
        ("DELETE", "/conversations/c"),
        ("POST", "/bulk"),
    ],
)
def test_every_route_needs_the_service_key(client, services, method, path):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
        with (
            statements(services.database) as sent,
            statements(engine_of(services)) as written,
        ):
            answer = client.open(f"/api/admin{path}", method=method, headers=headers)
        assert error(answer)[:2] == (401, "not_authenticated")
        assert sent + written == [], "a stranger costs no query"


def test_a_user_is_created_renamed_read_and_deleted(call):
    created = call("PUT", "/users/ann", {"display_name": "Ann"})
    assert (created.status_code, created.json) == (
        201,
        {"data": {"id": "ann", "display_name": "Ann"}},
    )
    renamed = call("PUT", "/users/ann", {"display_name": "Änn 👩‍🚀"})
    assert renamed.status_code == 200
    found = call("GET", "/users/ann")
    assert found.json == {"data": {"id": "ann", "display_name": "Änn 👩‍🚀"}}

    for _ in range(2):
        deleted = call("DELETE", "/users/ann")
        assert (deleted.status_code, deleted.data) == (204, b"")
    assert error(call("GET", "/users/ann")) == (
        404,
        "not_found",
        "there is no user ann",
    )


@pytest.mark.usefixtures("people")
def test_a_friendship_is_one_whatever_the_order(call, services):
    created = call("PUT", "/friendships/bob/ann", {"status": "pending"})
    again = call("PUT", "/friendships/ann/bob", {"status": "accepted"})

    assert created.status_code == 201
    assert again.status_code == 200
    assert again.json == {
        "data": {"user_a": "ann", "user_b": "bob", "status": "accepted"}
    }
    assert count(services, friendship_table) == 1
    for _ in range(2):
        assert call("DELETE", "/friendships/bob/ann").status_code == 204
    assert count(services, friendship_table) == 0


@pytest.mark.usefixtures("people")
def test_a_conversation_is_created_replaced_read_and_deleted(call):
    body = {"title": "Talk", "participants": ["bob", "ann", "bob"]}
    created = call("PUT", "/conversations/c:1", body)
    stored = {"id": "c:1", "title": "Talk", "participants": ["ann", "bob"]}
    assert (created.status_code, created.json) == (201, {"data": stored})

    replaced = call("PUT", "/conversations/c:1", {"participants": ["cid"]})
    assert replaced.status_code == 200
    found = call("GET", "/conversations/c:1")
    assert found.json == {"data": {"id": "c:1", "title": "", "participants": ["cid"]}}

    for _ in range(2):
        assert call("DELETE", "/conversations/c:1").status_code == 204
    assert error(call("GET", "/conversations/c:1"))[:2] == (404, "not_found")


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/friendships/ann/ghost", {"status": "accepted"}),
        ("/conversations/c", {"title": "", "participants": ["ann", "ghost"]}),
    ],
    ids=["friendship", "conversation"],
)
def test_an_unknown_user_is_a_conflict(call, services, path, body):
    expected = (409, "unknown_user", "unknown user: ghost")
    assert error(call("PUT", path, body)) == expected
    assert count(services, friendship_table) == 0
    assert count(services, conversation_table) == 0


LONG = "x" * 201
MANY = [f"user-{number}" for number in range(5001)]
BAD = [
    ("PUT", "/users/ann", {}, "display_name: takes text of 1 to 200 characters"),
    ("PUT", "/users/ann", {"display_name": ""}, "display_name: takes text"),
    ("PUT", "/users/ann", {"display_name": 7}, "display_name: takes text"),
    ("PUT", "/users/ann", {"display_name": LONG}, "display_name: takes text"),
    ("PUT", "/users/ann", {"display_name": "a\x00b"}, "display_name: takes text"),
    ("PUT", "/users/ann", ["display_name"], "body: takes a JSON object"),
    ("PUT", "/friendships/ann/ann", {"status": "accepted"}, "two different users"),
    ("DELETE", "/friendships/ann/ann", None, "two different users, not ann twice"),
    ("PUT", "/friendships/ann/bob", {}, "status: takes pending, accepted or blocked"),
    ("PUT", "/friendships/ann/bob", {"status": "ACCEPTED"}, "status: takes pending"),
    ("PUT", "/friendships/ann/bob", {"status": ["accepted"]}, "status: takes pending"),
    ("PUT", "/conversations/c", {"title": "T"}, "participants: takes a list"),
    ("PUT", "/conversations/c", {"participants": "ann"}, "participants: takes a list"),
    ("PUT", "/conversations/c", {"participants": MANY}, "takes at most 5000 ids"),
    (
        "PUT",
        "/conversations/c",
        {"title": LONG, "participants": []},
        "title: takes text of 0 to 200 characters",
    ),
    ("POST", "/bulk", {}, "body: takes users, friendships, conversations and"),
    (
        "PUT",
        "/users/ann/friends",
        {"friends": MANY},
        "friends: takes at most 5000 ids",
    ),
    ("PUT", "/users/ann/friends", {}, "friends: takes a list of user ids"),
    ("PUT", "/users/ann/friends", {"friends": ["ann"]}, "ids of other users, not ann"),
    ("POST", "/users/ann/ticket", {"friend": []}, "takes display_name and friends"),
    ("POST", "/users/ann/ticket", {"friends": "bob"}, "friends: takes a list of user"),
    ("POST", "/users/ann/ticket", {"friends": ["ann"]}, "friends: takes ids of other"),
    ("POST", "/users/ann/ticket", {"display_name": ""}, "display_name: takes text"),
    ("POST", "/bulk", {"delete": {}}, "delete: takes users, friendships and"),
    ("POST", "/bulk", {"delete": ["ann"]}, "delete: takes a JSON object"),
    ("POST", "/bulk", {"delete": {"user": []}}, "delete: takes users, friendships"),
    ("POST", "/bulk", {"delete": {"users": "ann"}}, "delete.users: takes a list"),
    (
        "POST",
        "/bulk",
        {"delete": {"friendships": [["ann", "bob", "pending"]]}},
        'delete.friendships[0]: takes ["a", "b"]',
    ),
    (
        "POST",
        "/bulk",
        {
            "users": [{"id": "ann", "display_name": "Ann"}],
            "delete": {"users": ["bob", "ann"]},
        },
        "users: ann is also in delete.users; send two calls",
    ),
    (
        "POST",
        "/bulk",
        {
            "friendships": [["bob", "cid"], ["ann", "bob"]],
            "delete": {"friendships": [["bob", "ann"]]},
        },
        "friendships[1]: ann and bob is also in delete.friendships",
    ),
    (
        "POST",
        "/bulk",
        {"friendships": [["ann", "bob"]], "delete": {"users": ["bob"]}},
        "friendships[0]: bob is also in delete.users",
    ),
    (
        "POST",
        "/bulk",
        {
            "conversations": [{"id": "c", "participants": []}],
            "delete": {"conversations": ["c"]},
        },
        "conversations[0]: c is also in delete.conversations",
    ),
    (
        "POST",
        "/bulk",
        {
            "conversations": [{"id": "c", "participants": ["bob"]}],
            "delete": {"users": ["bob"]},
        },
        "conversations[0]: bob is also in delete.users",
    ),
    ("GET", "/users?limit=0", None, "limit: takes a number from 1 to 1000"),
    ("GET", "/users?limit=1001", None, "limit: takes a number from 1 to 1000"),
    ("GET", "/conversations?limit=ten", None, "limit: takes a number"),
    ("GET", "/users?cursor=*", None, "cursor: takes the next_cursor of another page"),
    ("GET", "/conversations?cursor=a", None, "cursor: takes the next_cursor"),
    ("POST", "/bulk", {"users": {}}, "users: takes a list"),
    ("POST", "/bulk", {"users": ["ann"]}, "users[0]: takes a JSON object"),
    ("POST", "/bulk", {"users": [{"id": "a"}]}, "users[0].display_name: takes text"),
    ("POST", "/bulk", {"friendships": [["ann"]]}, 'friendships[0]: takes ["a", "b"]'),
    (
        "POST",
        "/bulk",
        {"friendships": [["ann", "bob"], ["ann", "ann"]]},
        "friendships[1]: takes two different users",
    ),
    (
        "POST",
        "/bulk",
        {"friendships": [["ann", "bob", "enemies"]]},
        "friendships[0][2]: takes pending",
    ),
    (
        "POST",
        "/bulk",
        {"conversations": [{"id": "c"}]},
        "conversations[0].participants: takes a list",
    ),
]


@pytest.mark.usefixtures("people")
def test_bad_input_names_the_field_and_what_it_takes(call, services):
    for method, path, body, message in BAD:
        status, code, said = error(call(method, path, body))
        assert (status, code) == (400, "bad_request"), (path, body)
        assert message in said, (path, body)
    assert count(services, user_table) == 3
    assert count(services, friendship_table) == 0
    assert count(services, conversation_table) == 0


@pytest.mark.parametrize("bad", ["a%20b", "a%00b", "%C3%A9", "x" * 129, "a*", "a%2Cb"])
def test_an_invalid_id_is_refused_wherever_it_stands(call, bad):
    name, talk = {"display_name": "A"}, {"participants": []}
    for method, path, body in (
        ("PUT", f"/users/{bad}", name),
        ("GET", f"/users/{bad}", None),
        ("DELETE", f"/users/{bad}", None),
        ("POST", f"/users/{bad}/disconnect", None),
        ("PUT", f"/friendships/ann/{bad}", {"status": "accepted"}),
        ("DELETE", f"/friendships/{bad}/ann", None),
        ("PUT", f"/conversations/{bad}", talk),
        ("GET", f"/conversations/{bad}", None),
        ("DELETE", f"/conversations/{bad}", None),
        ("POST", f"/users/{bad}/ticket", None),
        ("GET", f"/users/{bad}/friends", None),
        ("PUT", f"/users/{bad}/friends", {"friends": []}),
        ("POST", f"/conversations/{bad}/participants/ann", None),
        ("DELETE", f"/conversations/c/participants/{bad}", None),
    ):
        assert error(call(method, path, body))[:2] == (400, "invalid_id"), path


@pytest.mark.parametrize("path", ["auth0|5f7c+x", "auth0%7C5f7c%2Bx"])
def test_ids_of_identity_providers_stand_in_a_path_raw_or_encoded(call, path):
    key, longest = "auth0|5f7c+x", "a" * 128
    name = {"display_name": "A"}
    assert call("PUT", f"/users/{path}", name).json["data"]["id"] == key
    assert call("PUT", f"/users/{longest}", name).status_code == 201
    pair = call("PUT", f"/friendships/{path}/{longest}", {"status": "accepted"})
    assert {pair.json["data"]["user_a"], pair.json["data"]["user_b"]} == {key, longest}
    talk = {"participants": [key, longest]}
    assert call("PUT", f"/conversations/{path}", talk).status_code == 201
    assert call("GET", f"/conversations/{path}").json["data"]["id"] == key
    assert call("POST", f"/users/{path}/disconnect").status_code == 204
    assert call("DELETE", f"/users/{path}").status_code == 204
    assert call("GET", f"/users/{path}").status_code == 404


@pytest.mark.slow
def test_a_conversation_of_as_many_of_the_longest_ids_as_allowed_is_taken(call):
    ids = [f"{number:0128d}" for number in range(5000)]
    users = [{"id": key, "display_name": "x"} for key in ids]
    assert call("POST", "/bulk", {"users": users}).status_code == 200
    answer = call("PUT", "/conversations/c", {"participants": ids})
    assert answer.status_code == 201
    assert answer.json["data"]["participants"] == ids


def test_an_invalid_id_in_a_body_is_named_with_its_place(call):
    for body, place in (
        (
            {"users": [{"id": 5, "display_name": "A"}]},
            "users[0].id: 5 is not an id: it must be a string",
        ),
        (
            {"friendships": [["a", "b"], ["a", None]]},
            "friendships[1]: None is not an id: it must be a string",
        ),
        (
            {"conversations": [{"id": "c", "participants": ["a", "b b"]}]},
            "conversations[0].participants[1]: 'b b'",
        ),
        ({"delete": {"users": ["a", 5]}}, "delete.users[1]: 5 is not an id"),
    ):
        status, code, message = error(call("POST", "/bulk", body))
        assert (status, code) == (400, "invalid_id")
        assert message.startswith(place)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        b'{"display_name": "\\ud800"}',
        b"[" * 100_000,
        b'{"display_name": NaN}',
    ],
    ids=["empty", "open", "null", "not UTF-8", "half a character", "deep", "NaN"],
)
def test_a_body_that_is_no_json_object(client, raw):
    answer = client.put(
        "/api/admin/users/ann",
        data=raw,
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert error(answer)[:2] == (400, "bad_request")


def test_a_body_that_is_too_large_for_its_route(call):
    name = {"display_name": "x" * 300_000}
    assert call("PUT", "/users/ann", name).status_code == 413
    # As a bulk it is read, and found wrong.
    assert call("POST", "/bulk", {"users": [name]}).status_code == 400


@pytest.mark.slow
def test_a_bulk_of_ten_thousand_rows_each_twice(call, services):
    ids = [f"host:user-{number}@example.org" for number in range(10_000)]
    body = {
        "users": [{"id": key, "display_name": f"The user {key}"} for key in ids],
        "friendships": [[ids[i], ids[i - 1]] for i in range(10_000)],
        "conversations": [
            {"id": f"c{i}", "title": f"Talk {i}", "participants": ids[i : i + 2]}
            for i in range(10_000)
        ],
    }
    assert len(json.dumps(body)) < 4_000_000
    for _ in range(2):
        answer = call("POST", "/bulk", body)
        assert answer.status_code == 200
        assert answer.json == {
            "data": {"users": 10_000, "friendships": 10_000, "conversations": 10_000}
        }
    assert count(services, user_table) == 10_000
    assert count(services, friendship_table) == 10_000
    assert count(services, conversation_table) == 10_000


def test_a_bulk_is_all_or_nothing(call, services):
    body = {
        "users": [{"id": "ann", "display_name": "Ann"}],
        "conversations": [{"id": "c", "title": "", "participants": ["ann"]}],
        "friendships": [["ann", "ghost"]],
    }
    assert error(call("POST", "/bulk", body))[:2] == (409, "unknown_user")
    assert count(services, user_table) == 0
    assert count(services, conversation_table) == 0


@pytest.mark.usefixtures("people")
def test_a_bulk_takes_the_status_of_a_friendship_as_a_third_element(call, services):
    body = {"friendships": [["ann", "bob", "blocked"], ["bob", "cid"]]}
    assert call("POST", "/bulk", body).status_code == 200
    with services.sessions() as session:
        rows = session.execute(
            select(friendship_table).order_by(friendship_table.c.user_a)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("ann", "bob", "blocked"),
        ("bob", "cid", "accepted"),
    ]


def test_changes_reach_the_gateway_that_holds_the_users(call, services):
    """What the host changes is announced, after the commit, to the users concerned."""
    ann, bob, cid = (f"{name}-{uuid4().hex}" for name in ("ann", "bob", "cid"))
    gateway = f"test:{uuid4().hex}"
    services.presence.shards[0].gateways.heartbeat(gateway)
    services.presence.shards[0].store.connect(
        gateway,
        [LiveConnection(ann, f"{gateway}:1"), LiveConnection(bob, f"{gateway}:2")],
    )
    after = "0-0"

    def told() -> list[GatewayMessage]:
        nonlocal after
        read = services.presence.gateway_streams.read(
            gateway, after, wait_ms=1
        ).messages
        after = read[-1][0] if read else after
        return [message for _, message in read]

    users = [{"id": key, "display_name": key} for key in (ann, bob, cid)]
    call("POST", "/bulk", {"users": users, "friendships": [[ann, cid]]})
    told()

    call("PUT", f"/friendships/{ann}/{bob}", {"status": "accepted"})
    (message,) = told()
    heard = {
        (delivery.transition.user_id, *ids_in(delivery.recipients))
        for delivery in message.introductions
    }
    assert heard == {(ann, bob), (bob, ann)}

    call("PUT", f"/friendships/{ann}/{bob}", {"status": "accepted"})
    assert told() == [], "nothing changed, so nobody hears anything"

    call("PUT", f"/conversations/{cid}", {"participants": [ann, bob]})
    call("PUT", f"/friendships/{ann}/{bob}", {"status": "blocked"})
    (message,) = told()
    assert set(message.snapshots) == {ann, bob}

    call("POST", f"/users/{bob}/disconnect")
    (message,) = told()
    assert message.disconnects == (bob,)

    call("DELETE", f"/users/{ann}")
    lost, closed = told()
    assert lost.snapshots == (ann,)  # of the two who lost each other, cid is away
    assert closed.disconnects == (ann,)


def test_answers_have_the_headers_that_make_browsers_careful(client, call):
    expected = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    wrong = client.get("/api/friends/online-status")
    assert wrong.status_code == 401
    for answer in (wrong, call("PUT", "/users/ann", {"display_name": "Ann"})):
        assert expected.items() <= dict(answer.headers).items()
    listed = dict(call("GET", "/users").headers)
    assert listed["Cache-Control"] == "private, no-cache"
    page = dict(client.get("/").headers)
    assert page["X-Content-Type-Options"] == "nosniff"
    assert page["Referrer-Policy"] == "same-origin"
