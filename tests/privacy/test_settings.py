"""`GET` and `PATCH /api/me/presence`, the same for the host, and the event that tells
the user's own devices."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.privacy.watcher import Watcher, call, call_as, patch
from tests.system import SERVICE_KEY
from tests.system import wait_until as wait

pytestmark = pytest.mark.e2e

DEFAULTS = {
    "visibility": "everyone",
    "last_seen": "everyone",
    "exceptions": {"always": [], "never": []},
}


def of_host(system, method, user, body=None):
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    path = f"/api/admin/users/{user}/presence"
    return call(system, method, path, body, headers=headers)


def mine(system, user, method="GET", body=None):
    return call_as(system, user, method, "/api/me/presence", body)


def settings_events(watcher):
    watcher.pump()
    return [
        frame.data
        for frame in watcher.frames
        if frame.event == "presence_settings_changed"
    ]


def test_a_user_has_the_default_settings_at_first(steady):
    answer = mine(steady, "s-new")
    assert answer.status == 200
    data = answer.json["data"]
    assert {key: data[key] for key in DEFAULTS} == DEFAULTS
    assert data["status"] == "offline"


def test_a_change_is_kept_and_read_on_either_gateway(steady):
    exceptions = {"always": ["s-k-b", "s-k-a"], "never": ["s-k-c"]}
    patch(steady, "s-keep", {"visibility": "nobody", "exceptions": exceptions})
    patch(steady, "s-keep", {"last_seen": "friends"}, web=1)
    data = mine(steady, "s-keep").json["data"]
    assert (data["visibility"], data["last_seen"]) == ("nobody", "friends")
    assert {kind: sorted(ids) for kind, ids in data["exceptions"].items()} == {
        "always": ["s-k-a", "s-k-b"],
        "never": ["s-k-c"],
    }
    # Replaced as a whole.
    patch(steady, "s-keep", {"exceptions": {"always": ["s-k-d"]}})
    data = mine(steady, "s-keep").json["data"]
    assert data["exceptions"] == {"always": ["s-k-d"], "never": []}
    # null takes a value back.
    patch(steady, "s-keep", {"visibility": None, "last_seen": None, "exceptions": None})
    data = mine(steady, "s-keep").json["data"]
    assert {key: data[key] for key in DEFAULTS} == DEFAULTS


def test_a_hidden_user_is_told_the_own_real_status(steady):
    patch(steady, "s-real", {"visibility": "nobody"})
    watcher = Watcher(steady, "s-real").opened()
    wait(lambda: mine(steady, "s-real").json["data"]["status"] == "online")
    own = call_as(steady, "s-real", "GET", "/api/users/s-real/status")
    assert own.json["data"]["status"] == "online"
    watcher.leave()
    wait(lambda: mine(steady, "s-real").json["data"]["status"] == "offline")


@pytest.mark.parametrize("by_host", [False, True])
def test_all_own_devices_are_told_and_nobody_else(steady, by_host):
    user, friend = f"s-own{by_host}", f"s-friend{by_host}"
    steady.befriend(user, friend)
    with ExitStack() as stack:
        devices, others = (
            [Watcher(steady, name, web).opened() for web in (0, 1, 1)]
            for name in (user, friend)
        )
        for watcher in (*devices, *others):
            stack.callback(watcher.close)
        fields = {"visibility": "friends", "exceptions": {"never": [friend]}}
        if by_host:
            answer = of_host(steady, "PATCH", user, fields)
        else:
            answer = mine(steady, user, "PATCH", fields)
        assert answer.status == 200
        for device in devices:
            wait(lambda device=device: settings_events(device))
            assert settings_events(device) == [answer.json["data"]]
            (raw,) = (
                frame.raw
                for frame in device.frames
                if frame.event == "presence_settings_changed"
            )
            assert list(json.loads(raw)["data"]) == list(answer.json["data"])
        for other in others:
            other.wait_for(user, "offline")
            assert settings_events(other) == []


def test_the_host_reads_and_changes_the_same_settings(steady):
    assert of_host(steady, "GET", "s-nobody-there").status == 404
    body = {"visibility": "nobody"}
    assert of_host(steady, "PATCH", "s-nobody-there", body).status == 404
    steady.admin("PUT", "/users/s-hosted", {"display_name": "Hosted"})
    answer = of_host(steady, "PATCH", "s-hosted", body)
    assert answer.status == 200
    assert answer.json["data"]["visibility"] == "nobody"
    assert of_host(steady, "GET", "s-hosted").json == answer.json
    assert mine(steady, "s-hosted").json == answer.json
    assert of_host(steady, "PATCH", "s-hosted", {"visibility": "x"}).status == 400


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_who_may_call(steady, method):
    body = {"visibility": "nobody"} if method == "PATCH" else None
    assert call(steady, method, "/api/me/presence", body).status == 401
    path = "/api/admin/users/s-hosted2/presence"
    steady.admin("PUT", "/users/s-hosted2", {"display_name": "Hosted"})
    assert call(steady, method, path, body).status == 401
    assert call_as(steady, "s-hosted2", method, path, body).status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 403),
        ("null", 403),
        ("http://evil.example", 403),
        ("own", 200),
    ],
)
def test_a_cookie_needs_an_allowed_origin_for_a_change(steady, origin, status):
    cookie = {"Cookie": f"presence_token={steady.token('s-cookie')}"}
    if origin is not None:
        cookie["Origin"] = steady.url() if origin == "own" else origin
    path, body = "/api/me/presence", {"visibility": "friends"}
    before = mine(steady, "s-cookie").json
    assert call(steady, "PATCH", path, body, headers=cookie).status == status
    if status == 403:
        assert mine(steady, "s-cookie").json == before


def test_a_bearer_token_needs_no_origin(steady):
    headers = {"Authorization": f"Bearer {steady.token('s-bearer')}"}
    for origin in ({}, {"Origin": "http://elsewhere.example"}):
        answer = call(
            steady,
            "PATCH",
            "/api/me/presence",
            {"visibility": "friends"},
            headers={**headers, **origin},
        )
        assert answer.status == 200


MANY = [f"s-m-{n}" for n in range(1001)]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"visibility": "somebody"}, "visibility"),
        ({"visibility": True}, "visibility"),
        ({"visibility": ["nobody"]}, "visibility"),
        ({"visibility": {"a": 1}}, "visibility"),
        ({"last_seen": "never"}, "last_seen"),
        ({"last_seen": 1}, "last_seen"),
        ({"exceptions": []}, "exceptions"),
        ({"exceptions": "ann"}, "exceptions"),
        ({"exceptions": {"always": "ann"}}, "always"),
        ({"exceptions": {"never": {"ann": 1}}}, "never"),
        ({"exceptions": {"never": 0}}, "never"),
        ({"exceptions": {"never": False}}, "never"),
        ({"exceptions": {"never": ""}}, "never"),
        ({"exceptions": {"never": {}}}, "never"),
        ({"exceptions": {"never": [1]}}, "never"),
        ({"exceptions": {"never": [None]}}, "never"),
        ({"exceptions": {"never": ["an n"]}}, "never"),
        ({"exceptions": {"never": ["a" * 129]}}, "never"),
        ({"exceptions": {"never": [], "maybe": []}}, "exceptions"),
        ({"exceptions": {"always": ["x", "y"], "never": ["y"]}}, "y"),
        ({"exceptions": {"always": MANY}}, "exceptions"),
        ({"exceptions": {"never": MANY}}, "exceptions"),
        ({"exceptions": {"always": MANY[:501], "never": MANY[501:]}}, "exceptions"),
        ({"invisible": True}, "invisible"),
        ({"visibility": "nobody", "colour": "red"}, "colour"),
        ({"status": "offline"}, "status"),
        ({"detail": None}, "detail"),
        ([], "body"),
        ("nobody", "body"),
        (None, "body"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(steady, fields, named):
    steady.admin("PUT", "/users/s-wrong", {"display_name": "Wrong"})
    for answer in (
        mine(steady, "s-wrong", "PATCH", fields),
        of_host(steady, "PATCH", "s-wrong", fields),
    ):
        assert answer.status == 400, answer
        assert named in answer.json["error"]["message"]
    data = mine(steady, "s-wrong").json["data"]
    assert {key: data[key] for key in DEFAULTS} == DEFAULTS


def test_a_thousand_exceptions_are_taken(steady):
    exceptions = {"always": MANY[:500], "never": MANY[500:1000]}
    data = patch(steady, "s-many", {"exceptions": exceptions})
    assert len(data["exceptions"]["always"]) == 500
    assert len(data["exceptions"]["never"]) == 500
    assert mine(steady, "s-many").json["data"]["exceptions"] == data["exceptions"]


def test_always_makes_nobody_relevant(steady):
    for user in ("s-a-one", "s-a-two"):
        steady.admin("PUT", f"/users/{user}", {"display_name": user})
    patch(steady, "s-a-one", {"exceptions": {"always": ["s-a-two"]}})
    answer = call_as(steady, "s-a-two", "GET", "/api/users/s-a-one/status")
    assert answer.status == 403


def test_deleted_user_and_created_again_has_the_default_settings(steady):
    steady.befriend("s-del", "s-del-friend")
    patch(steady, "s-del", {"visibility": "nobody", "last_seen": "nobody"})
    steady.admin("DELETE", "/users/s-del")
    steady.befriend("s-del", "s-del-friend")
    data = mine(steady, "s-del").json["data"]
    assert {key: data[key] for key in DEFAULTS} == DEFAULTS


@pytest.mark.slow
def test_a_server_that_forbids_hiding(own_system_of, tmp_path):
    """What was stored before the setting was changed does not count."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    before = own_system_of(database_url=url)
    before.befriend("ann", "bob", "cid")
    patch_as(before, "ann", {"visibility": "nobody"})
    patch_as(before, "bob", {"exceptions": {"never": ["ann"], "always": ["cid"]}})
    for process in before.processes.values():
        process.stop()
    system = own_system_of(database_url=url, PRESENCE_ALLOW_INVISIBLE="0")

    for fields in (
        {"visibility": "nobody"},
        {"exceptions": {"never": ["bob"]}},
        {"visibility": "everyone", "exceptions": {"never": ["bob"], "always": []}},
    ):
        answer = mine(system, "cid", "PATCH", fields)
        assert answer.status == 403, answer
        assert answer.json["error"]["code"] == "not_allowed"
        host = of_host(system, "PATCH", "cid", fields)
        assert (host.status, host.json["error"]["code"]) == (403, "not_allowed")
    for fields in ({"visibility": "friends"}, {"exceptions": {"always": ["bob"]}}):
        assert mine(system, "cid", "PATCH", fields).status == 200
    # One who hid before may change what is allowed.
    assert mine(system, "ann", "PATCH", {"last_seen": "friends"}).status == 200

    bob = Watcher(system, "bob").opened()
    ann = Watcher(system, "ann").opened()
    bob.wait_for("ann", "online")
    ann.wait_for("bob", "online")
    answer = call_as(system, "bob", "GET", "/api/users/ann/status")
    assert answer.json["data"]["status"] == "online"
    answer = call_as(system, "ann", "GET", "/api/friends/online-status")
    assert answer.json["data"]["statuses"] == {"bob": True, "cid": False}
    bob.leave()
    ann.wait_for("bob", "offline")
    ann.close()


def patch_as(system, user, fields):
    answer = mine(system, user, "PATCH", fields)
    assert answer.status == 200, answer


@pytest.fixture
def older_gateway(steady):
    """A gateway of a version that shows hidden users."""
    steady.redis.zadd("gateways", {"old.1:aabbccdd": 4e12})
    yield
    steady.redis.zrem("gateways", "old.1:aabbccdd")


@pytest.mark.usefixtures("older_gateway")
def test_hiding_waits_until_no_older_gateway_runs_and_nothing_else_does(steady):
    for fields in (
        {"visibility": "friends"},
        {"last_seen": "nobody"},
        {"exceptions": {"never": ["s-old-b"]}},
        {"visibility": "nobody", "text": "x"},
    ):
        answer = mine(steady, "s-old", "PATCH", fields)
        assert answer.status == 503
        assert answer.json["error"]["code"] == "older_version_running"
    for fields in (
        {"visibility": "everyone"},
        {"exceptions": {"always": ["s-old-b"]}},
        {"availability": "dnd", "text": "busy"},
    ):
        patch(steady, "s-old", fields)
    data = mine(steady, "s-old").json["data"]
    assert (data["visibility"], data["text"]) == ("everyone", "busy")


def test_a_value_of_another_type_in_redis_gives_a_clear_error(steady):
    """Another program may write under our keys."""
    key = "user:ann-type:status"
    assert patch(steady, "ann-type", {"visibility": "friends"})
    steady.redis.delete(key)
    steady.redis.lpush(key, "x")
    answer = call_as(steady, "ann-type", "PATCH", "/api/me/presence", {"text": "x"})
    assert answer.status == 500
    assert answer.json["error"]["code"] == "command_refused"
    steady.redis.delete(key)
    assert patch(steady, "ann-type", {"text": "x"})
