"""The Python client's `Admin`, against the real server."""

from __future__ import annotations

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from greendot_client import (
    Admin,
    ApiError,
    Conversation,
    Denied,
    Presence,
    Reachability,
    User,
    WebhookReceiver,
)
from tests.clients import Client
from tests.system import SERVICE_KEY, wait_until

pytestmark = pytest.mark.e2e
numbers = itertools.count()


@pytest.fixture
def admin(system):
    with Admin(system.url(), SERVICE_KEY) as admin:
        yield admin


@pytest.fixture
def names():
    number = next(numbers)
    return [f"admin-{number}-{name}" for name in ("ann", "bob", "cleo")]


def test_users_and_friends(admin, names):
    ann, bob, cleo = names
    assert admin.put_user(ann, "Ann") == User(ann, "Ann")
    assert admin.put_user(ann, "Anna") == admin.user(ann) == User(ann, "Anna")
    assert admin.replace_friends(ann, [cleo, bob]) == [bob, cleo]
    assert admin.friends(bob) == [ann]
    admin.put_friendship(bob, ann, "blocked")
    admin.delete_friendship(cleo, ann)
    assert admin.friends(ann) == []
    listed = {user.id: user for user in admin.users()}
    assert [listed[name] for name in names] == [
        User(ann, "Anna"),
        User(bob, bob),
        User(cleo, cleo),
    ]
    admin.delete_user(ann)
    with pytest.raises(ApiError, match="404 not_found") as refused:
        admin.user(ann)
    assert (refused.value.status, refused.value.code) == (404, "not_found")


def test_conversations(admin, names):
    ann, bob, cleo = names
    admin.bulk(users=[{"id": name, "display_name": name} for name in names])
    lunch = admin.put_conversation(f"{ann}-lunch", "Lunch", [ann, bob])
    assert lunch == Conversation(f"{ann}-lunch", "Lunch", [ann, bob])
    admin.add_participant(lunch.id, cleo)
    admin.remove_participant(lunch.id, bob)
    found = admin.conversation(lunch.id)
    assert found.participants == [ann, cleo]
    assert found in list(admin.conversations())
    admin.delete_conversation(lunch.id)
    assert found not in list(admin.conversations())


def test_many_rows_in_one_call(admin, names):
    ann, bob, cleo = names
    users = [{"id": name, "display_name": name.upper()} for name in names]
    conversation = {"id": ann, "title": "Trip", "participants": [ann, cleo]}
    admin.bulk(
        users=users,
        friendships=[(ann, bob), (ann, cleo, "pending")],
        conversations=[conversation],
    )
    assert admin.friends(ann) == [bob]
    assert admin.conversation(ann).title == "Trip"
    admin.bulk(delete={"users": [bob], "conversations": [ann]})
    assert admin.friends(ann) == []
    with pytest.raises(ApiError, match=r"users\[0\]"):
        admin.bulk(users=[{"id": "not an id", "display_name": "x"}])


def test_pages_are_followed_and_an_unchanged_list_is_known(admin, names):
    admin.bulk(users=[{"id": name, "display_name": name} for name in names])
    first = admin.users_page(limit=2)
    assert len(first.items) == 2
    second = admin.users_page(first.next_cursor, limit=1)
    assert second.items[0].id > first.items[1].id
    assert admin.unchanged("users?limit=2", first.etag)
    admin.put_user(first.items[0].id, "Another name")
    assert not admin.unchanged("users?limit=2", first.etag)


def test_questions(system, admin, names):
    ann, bob, _ = names
    system.befriend(ann, bob)
    with Client(system, ann).opened():
        wait_until(lambda: admin.online_status([ann, bob]) == {ann: True, bob: False})
        assert admin.user_statuses([ann])[ann].devices == 1
        assert admin.user_statuses([ann])[ann].detail.availability == "active"
        assert admin.user_statuses([bob])[bob].status == "offline"
        assert admin.reachability([ann])[ann] == Reachability(
            online=True, idle_for=None, availability="active", suggest="socket"
        )
        assert ann in set(admin.online_users())
        assert admin.online_users_page(limit=1).items
        stats = admin.stats()
        assert stats.online_users >= 1
        assert stats.gateways == 2
        explained = admin.explain(ann, viewer=bob)
        assert explained["viewer"]["status"] == "online"


def test_a_user_is_signed_in_and_out(system, admin, names):
    ann, bob, _ = names
    signed_in = admin.sign_in(ann, display_name="Ann", friends=[bob])
    assert (signed_in.expires_in, signed_in.token_expires_in) == (30, 3600)
    assert admin.friends(ann) == [bob]
    with Client(system, query=f"?ticket={signed_in.ticket}") as client:
        assert client.expect("welcome")["user_id"] == ann
        admin.disconnect(ann)
        assert client.expect_close() == 4403
    with Presence(system.url(), signed_in.token) as presence:
        assert not presence.is_online(bob)
    admin.revoke(ann)
    newer = admin.sign_in(ann).token
    with Presence(system.url(), newer) as presence:
        assert presence.read_settings().visibility == "everyone"
    with pytest.raises(Denied), Presence(system.url(), signed_in.token):
        pass


def test_settings(admin, names):
    ann, bob, _ = names
    admin.bulk(users=[{"id": name, "display_name": name} for name in names])
    changed = admin.change_settings(
        ann, availability="dnd", text="On a call", exceptions={"never": [bob]}
    )
    assert (changed.availability, changed.text) == ("dnd", "On a call")
    assert changed.exceptions == {"always": [], "never": [bob]}
    assert admin.settings(ann) == changed


def test_receivers_of_webhooks(own_system_of):
    url = "http://127.0.0.1:9/presence"
    system = own_system_of(
        PRESENCE_WEBHOOK_URLS=url,
        PRESENCE_WEBHOOK_SECRETS="whsec_" + "A" * 32,
        PRESENCE_WEBHOOK_ALLOW_PRIVATE="1",
    )
    admin = Admin(system.url(), SERVICE_KEY)
    assert admin.webhooks() == [WebhookReceiver(url, "active", 0, None)]
    admin.enable_webhook(url)
    with pytest.raises(ApiError, match="404 not_found"):
        admin.enable_webhook("http://127.0.0.1:9/other")


def test_an_id_may_have_characters_of_a_url(admin):
    name = "auth0|a+b@example.com"
    admin.put_user(name, "Ann")
    assert admin.user(name).id == name
    with pytest.raises(ApiError, match="400 invalid_id"):
        admin.user("a?x=#y &")
    admin.delete_user(name)


def test_a_wrong_key_and_no_server(system):
    with pytest.raises(ApiError, match="401 not_authenticated"):
        Admin(system.url(), "wrong").stats()
    with pytest.raises(OSError, match=r"http://127.0.0.1:9 did not answer"):
        Admin("http://127.0.0.1:9", "key", retries=0).stats()
    with pytest.raises(ValueError, match="does not begin with http"):
        Admin("presence.example.com", "key")


def test_a_call_is_repeated_when_the_server_asks_for_it():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, content))
            is_first = len(asked) == 1
            self.send_response(503 if is_first else 200)
            body = b"{}" if is_first else b'{"data": {"statuses": {"ann": true}}}'
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            admin = Admin(f"http://127.0.0.1:{server.server_port}/", "key")
            began = time.monotonic()
            assert admin.online_status(["ann"]) == {"ann": True}
        finally:
            server.shutdown()
            thread.join()
    assert time.monotonic() - began >= 1  # as the server has asked
    assert asked == [("/api/admin/online-status", b'{"user_ids": ["ann"]}')] * 2


def test_every_admin_route_has_a_method(system, admin):
    """Each route of the server, and the method that calls it, by what is asked."""
    from app.factory import create_app  # noqa: PLC0415 - heavy
    from config import Settings  # noqa: PLC0415 - heavy

    asked: set[tuple[str, str]] = set()

    def note(method, path, *_arguments, **_options):
        asked.add((method, path.split("?")[0]))
        raise ApiError(0, "", "")

    admin._rest.ask = note
    admin._rest.call = note
    arguments = {"user_ids": ["U"], "friends": ["U"], "participants": ["U"]}
    for name in dir(admin):
        if name.startswith("_") or name in {"close", "unchanged"}:
            continue
        method = getattr(admin, name)
        code = method.__func__.__code__
        needed = code.co_varnames[1 : code.co_argcount - len(method.__defaults__ or ())]
        values = [arguments.get(one, "X") for one in needed]
        with pytest.raises(ApiError):
            found = method(*values)
            next(iter(found))
    app = create_app(Settings.from_env(system.environ))
    routes = set()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/admin"):
            path = "/".join("X" if "<" in one else one for one in rule.rule.split("/"))
            routes |= {(one, path) for one in rule.methods - {"HEAD", "OPTIONS"}}
    assert asked == routes
