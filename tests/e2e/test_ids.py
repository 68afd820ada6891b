"""Ids as identity providers give them, over the wire: with `|` and `+`, with 128
characters, and numbers."""

from __future__ import annotations

import time
from urllib.parse import quote

import jwt
import pytest

from tests.clients import Client
from tests.raw import tcp_socket
from tests.system import JWT_SECRET, SERVICE_KEY, System

pytestmark = pytest.mark.e2e

AUTH0 = "auth0|5f7c8ec7c33c6c004bbafe82"
MAIL = "ann+work@example.com"
LONGEST = "google-oauth2|" + "1" * 114
NUMBER = 421_337


def test_such_users_see_each_other(system: System):
    system.befriend(AUTH0, MAIL, LONGEST, str(NUMBER))
    token = jwt.encode(
        {"sub": NUMBER, "nbf": int(time.time()) + 2}, JWT_SECRET, algorithm="HS256"
    )
    friends = {MAIL, LONGEST, str(NUMBER)}
    with Client(system, AUTH0) as auth0:
        assert auth0.expect("presence_snapshot")["statuses"].keys() == friends
        with (
            Client(system, MAIL, web=1).opened(),
            Client(system, LONGEST).opened(),
            Client(system, token=token, web=1) as number,
        ):
            assert number.expect("welcome")["user_id"] == str(NUMBER)
            heard = {auth0.expect("friend_status_changed")["user_id"] for _ in friends}
            assert heard == friends
            assert all(map(system.is_online, friends))
            _, answer = system.request(
                "GET", "/api/friends/online-status", token=system.token(AUTH0)
            )
            assert answer["data"]["statuses"] == dict.fromkeys(friends, True)
            for path in (MAIL, quote(MAIL, safe="")):
                status, answer = system.request(
                    "GET", f"/api/users/{path}/status", token=system.token(AUTH0)
                )
                assert (status, answer["data"]["user_id"]) == (200, MAIL)
            system.admin("POST", f"/users/{quote(MAIL, safe='')}/disconnect")
            auth0.expect_change(MAIL, "offline")


@pytest.mark.parametrize("path", ["raw|a+b", "raw%7Ca%2Bb"])
def test_a_path_may_hold_them_raw(system: System, path: str):
    body = b'{"display_name": "Raw"}'
    head = (
        f"PUT /api/admin/users/{path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {SERVICE_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with tcp_socket(system) as sock:
        sock.sendall(head.encode() + body)
        answer = sock.recv(65536)
    assert answer.split()[1] in {b"200", b"201"}
    assert b'"id":"raw|a+b"' in answer
