"""`GET /api/admin/users/{id}/sessions`, and `last_seen` where Redis has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from app.factory import create_app
from app.services import EXTENSION, Services
from app.tokens import issue_token
from models.recorded import RecordedTransition
from models.sql import graph
from models.sql.friendship import FriendshipStatus
from models.sql.last_seen import kept_since, put_last_seen
from models.sql.sessions import add_transitions
from models.visibility import PresenceSettings, Visible
from tests.api.test_admin import KEY, call, client, services  # noqa: F401 - fixtures
from tests.api.test_questions import People, data, error_of, people  # noqa: F401

pytestmark = pytest.mark.integration


@pytest.fixture
def keeping(services: Services) -> Iterator[FlaskClient]:  # noqa: F811
    """The same application, which keeps sessions."""
    app = create_app(replace(services.settings, session_days=30))
    with app.test_client() as other:
        yield other
    current = app.extensions[EXTENSION]
    current.database.dispose()
    current.sessions.kw["bind"].dispose()


@pytest.fixture
def get(keeping):
    """`get("/users/ann/sessions?limit=1")` with the service key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return lambda path, **more: keeping.get(f"/api/admin{path}", headers=headers | more)


def store(services, user, *sessions):  # noqa: F811
    """Sessions of `user`: (start, end), or (start, None)."""
    with services.sessions() as session:
        graph.put_user(session, user, user)
        for start, end in sessions:
            ends = [] if end is None else [(end + 1, False, end)]
            made = [
                RecordedTransition(user, *one) for one in [(start, True, start), *ends]
            ]
            add_transitions(session, made)
        session.commit()


def test_the_sessions_of_a_user(get, services):  # noqa: F811
    store(services, "ann", (1000, 2000), (5000, None))
    assert data(get("/users/ann/sessions")) == {
        "sessions": [{"start": 1000, "end": 2000}, {"start": 5000, "end": None}],
        "next_cursor": None,
    }
    assert data(get("/users/ann/sessions?since=2001"))["sessions"] == [
        {"start": 5000, "end": None}
    ]
    store(services, "bob")
    assert data(get("/users/bob/sessions")) == {"sessions": [], "next_cursor": None}


def test_pages(get, services):  # noqa: F811
    store(services, "ann", *((1000 * n, 1000 * n + 500) for n in range(1, 6)))
    found, query = [], "?limit=2"
    for _ in range(3):
        page = data(get(f"/users/ann/sessions{query}"))
        found.append([one["start"] for one in page["sessions"]])
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert found == [[1000, 2000], [3000, 4000], [5000]]
    assert page["next_cursor"] is None


def test_an_etag(get, services):  # noqa: F811
    store(services, "ann", (1000, 2000))
    tag = get("/users/ann/sessions").headers["ETag"]
    assert get("/users/ann/sessions", **{"If-None-Match": tag}).status_code == 304
    store(services, "ann", (3000, None))
    assert get("/users/ann/sessions", **{"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *("since=yesterday", "since=-1", "since=1.5", "since=", "since=٣"),
        f"since={2**53}",
        f"since={'9' * 500}",
        *("limit=0", "limit=1001", "limit=x"),
        *("cursor=x", "cursor=YW5u", "cursor=LTE=", f"cursor={'OTk5' * 50}"),
    ],
)
def test_a_bad_option(get, services, query):  # noqa: F811
    store(services, "ann")
    status, message = error_of(get(f"/users/ann/sessions?{query}"))
    assert status == 400
    assert message.startswith(f"{query.partition('=')[0]}: takes ")


def test_an_unknown_user(get):
    assert error_of(get("/users/who/sessions")) == (404, "there is no user who")
    assert get("/users/w%20ho/sessions").status_code == 400


def test_sessions_are_off(call, services):  # noqa: F811
    store(services, "ann", (1000, 2000))
    status, message = error_of(call("GET", "/users/ann/sessions"))
    assert status == 409
    assert "PRESENCE_SESSION_DAYS" in message


def test_only_the_host_may_ask(keeping):
    assert keeping.get("/api/admin/users/ann/sessions").status_code == 401


# last_seen


@pytest.fixture
def seen(services, people):  # noqa: F811
    """Ann and bob are friends. Redis knows nothing of bob, and SQL when he was seen."""
    ann, bob = people.id("ann"), people.id("bob")
    with services.sessions() as session:
        at = kept_since(session) + 5
        graph.put_user(session, ann, "Ann")
        graph.put_user(session, bob, "Bob")
        graph.put_friendship(session, ann, bob, FriendshipStatus.ACCEPTED)
        known = RecordedTransition(bob, at + 1, online=False, last_seen=at)
        put_last_seen(session, [known])
        session.commit()
    return at


def ask(client, viewer, subject):  # noqa: F811
    settings = client.application.extensions[EXTENSION].settings
    token = issue_token(settings, viewer, 60)
    headers = {"Authorization": f"Bearer {token}"}
    return data(client.get(f"/api/users/{subject}/status", headers=headers))


def test_last_seen_outlives_redis(client, call, people, seen):  # noqa: F811
    ann, bob = people.id("ann"), people.id("bob")
    assert ask(client, ann, bob) == {
        "user_id": bob,
        "status": "offline",
        "last_seen": seen,
        "updated_at": None,
    }
    assert ask(client, bob, bob)["last_seen"] == seen
    body = {"user_ids": [ann, bob], "detail": True}
    found = data(call("POST", "/online-status", body))["statuses"]
    assert [found[one]["last_seen"] for one in (ann, bob)] == [None, seen]
    viewer = data(call("GET", f"/users/{bob}/explain?viewer={ann}"))["viewer"]
    assert viewer["last_seen"] == seen


def test_redis_wins_if_it_knows(client, people, seen):  # noqa: F811
    people.connect("bob")
    found = ask(client, people.id("ann"), people.id("bob"))
    assert found["last_seen"] > seen


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("whose", ["ann", "bob"])
def test_a_hidden_last_seen_stays_hidden(client, people, whose):  # noqa: F811
    people.set_to(whose, PresenceSettings(last_seen=Visible.NOBODY))
    found = ask(client, people.id("ann"), people.id("bob"))
    assert (found["last_seen"], found["updated_at"]) == (None, None)


@pytest.mark.usefixtures("seen")
def test_who_was_hidden_all_the_time_was_never_seen(client, people):  # noqa: F811
    people.set_to("bob", PresenceSettings(visibility=Visible.NOBODY))
    assert ask(client, people.id("ann"), people.id("bob"))["last_seen"] is None
