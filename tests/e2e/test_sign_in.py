"""The host signs users in by one call, and replaces friends while users are online."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from models.events import CloseCode
from tests.clients import Client
from tests.system import SERVICE_KEY, System, wait_until

pytestmark = pytest.mark.e2e


def names(*users: str) -> list[str]:
    """Users of this very test."""
    suffix = uuid4().hex[:8]
    return [f"{user}-{suffix}" for user in users]


def sign_in(system: System, user_id: str, **body: Any) -> dict[str, Any]:
    answer = system.admin("POST", f"/users/{user_id}/ticket", body)
    found: dict[str, Any] = answer["data"]
    return found


def shown(snapshot: dict[str, Any]) -> dict[str, str]:
    return {key: of["status"] for key, of in snapshot["statuses"].items()}


def test_a_ticket_of_the_host_opens_one_socket(system: System):
    ann, bob = names("ann", "bob")
    found = sign_in(system, ann, display_name="Ann", friends=[bob])
    query = f"?ticket={found['ticket']}"
    with Client(system, query=query, web=1) as socket:
        assert socket.expect("welcome")["user_id"] == ann
        assert shown(socket.expect("presence_snapshot")) == {bob: "offline"}
        wait_until(lambda: system.is_online(ann))
        # Bob signs in without a word about friends, and sees ann.
        other = f"?ticket={sign_in(system, bob)['ticket']}"
        with Client(system, query=other).opened():
            socket.expect_change(bob, "online")
        with Client(system, query=query) as again:
            assert again.expect_close() == CloseCode.NOT_AUTHENTICATED
    path = "/api/friends/online-status"
    status, answer = system.request("GET", path, token=found["token"])
    assert (status, list(answer["data"]["statuses"])) == (200, [bob])


def test_replaced_friends_are_told_to_those_who_are_online(system: System):
    ann, bob, cid, dan = names("ann", "bob", "cid", "dan")
    system.befriend(ann, bob, cid)
    system.admin("PUT", f"/users/{dan}", {"display_name": "Dan"})
    path = f"/users/{ann}/friends"
    with ExitStack() as stack:
        on_ann, on_bob, on_cid, on_dan = (
            stack.enter_context(Client(system, name, web=number % 2).opened())
            for number, name in enumerate((ann, bob, cid, dan))
        )
        answer = system.admin("PUT", path, {"friends": [cid, dan]})
        assert answer == {"data": {"friends": sorted([cid, dan])}}
        while on_ann.expect("friend_status_changed")["user_id"] != dan:
            pass
        while on_dan.expect("friend_status_changed")["user_id"] != ann:
            pass
        while shown(on_ann.expect("presence_snapshot")).keys() != {cid, dan}:
            pass
        assert shown(on_bob.expect("presence_snapshot")) == {}

        # Cid stays a friend, and sees ann leave. Bob is told nothing more.
        on_ann.send("leave")
        while on_cid.expect("friend_status_changed")["status"] != "offline":
            pass
        on_bob.send("heartbeat")
        assert on_bob.receive()["event"] == "heartbeat_ack"


def test_a_list_is_not_sent_again_over_the_wire(system: System):
    ann, bob = names("ann", "bob")
    system.admin("PUT", f"/users/{ann}/friends", {"friends": [bob]})
    request = urllib.request.Request(  # noqa: S310 - our own URL
        f"{system.url()}/api/admin/users/{ann}/friends",
        headers={"Authorization": f"Bearer {SERVICE_KEY}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert json.loads(answer.read()) == {"data": {"friends": [bob]}}
        etag = answer.headers["ETag"]
    request.add_header("If-None-Match", etag)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310
    with caught.value as same:
        assert (same.code, same.read()) == (304, b"")


@pytest.mark.slow
def test_a_long_list_of_friends_is_served_by_a_process_of_its_own(system: System):
    (ann,) = names("ann")
    friends = sorted(names(*(f"friend{number}" for number in range(300))))
    with Client(system, friends[0]).opened() as one:
        found = sign_in(system, ann, friends=friends)
        with Client(system, query=f"?ticket={found['ticket']}", web=1) as socket:
            assert socket.expect("welcome")["user_id"] == ann
            assert shown(socket.expect("presence_snapshot")).keys() == set(friends)
            while one.expect("friend_status_changed")["status"] != "online":
                pass
