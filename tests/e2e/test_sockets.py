"""Who may open a socket, and what a bad client can do: nothing to anybody else."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time

import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import Client
from tests.raw import raw_socket, read_to_end
from tests.system import JWT_SECRET, System, wait_until

pytestmark = pytest.mark.e2e


GONE = (BrokenPipeError, ConnectionResetError)


@pytest.fixture
def bystander(system: System):
    """A client that must come through unharmed."""
    with Client(system, f"bystander-{os.urandom(4).hex()}").opened() as client:
        yield client
        client.send("heartbeat")
        client.expect("heartbeat_ack")


@pytest.mark.parametrize(
    "token",
    [
        None,
        "garbage",
        jwt.encode({"sub": "ada"}, "another secret, also long enough for it"),
        jwt.encode({"sub": "ada", "exp": time.time() - 10}, JWT_SECRET),
        jwt.encode({"name": "ada"}, JWT_SECRET),
        jwt.encode({"sub": "no blanks allowed"}, JWT_SECRET),
        jwt.encode({"sub": "ada"}, JWT_SECRET, algorithm="HS512"),
    ],
    ids=["none", "garbage", "foreign", "expired", "no sub", "bad id", "algorithm"],
)
def test_a_bad_token_is_refused(system, token):
    assert Client(system, token=token, beats=None).expect_close() == 4401
    if token is not None:
        status, answer = system.request(
            "GET", "/api/friends/online-status", token=token
        )
        assert status == 401
        assert answer["error"]["code"] == "not_authenticated"


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://evil.example", 4403),
        ("null", 4403),
        ("http://127.0.0.1:1", 4403),
        ("https://127.0.0.1:bad", 4403),
    ],
)
def test_a_cookie_from_a_foreign_origin_is_refused(system, origin, code):
    cookie = {"Cookie": f"presence_token={system.token('o-ada')}", "Origin": origin}
    assert Client(system, headers=cookie, beats=None).expect_close() == code
    assert not system.is_online("o-ada")


def test_a_cookie_from_the_own_page_is_taken(system):
    cookie = {
        "Cookie": f"presence_token={system.token('o-grace')}",
        "Origin": system.url(),
    }
    with Client(system, headers=cookie).opened():
        assert system.is_online("o-grace")


def test_a_ticket_opens_one_socket(system):
    status, answer = system.request(
        "POST", "/api/ws-ticket", token=system.token("k-ada")
    )
    assert status == 200
    assert answer["data"]["expires_in"] == 30
    query = f"?ticket={answer['data']['ticket']}"
    with Client(system, query=query, web=1) as client:
        assert client.expect("welcome")["user_id"] == "k-ada"
    assert Client(system, query=query, beats=None).expect_close() == 4401


def test_a_token_that_expires_ends_the_live_socket(system):
    token = system.token("x-ada", lifetime=2)
    with Client(system, token=token).opened() as client:
        assert client.expect_close() == 4401


def test_an_unknown_user_is_created_without_friends(system):
    with Client(system, "n-ada") as ada:
        assert ada.expect("presence_snapshot") == {"statuses": {}}
    assert system.admin("GET", "/users/n-ada")["data"]["id"] == "n-ada"


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("garbage", "bad_frame"),
        ("[]", "bad_frame"),
        ('{"event": 1}', "bad_frame"),
        ('{"event": "heartbeat", "data": []}', "bad_frame"),
        ('{"event": "no such event", "data": {}}', "unknown_event"),
        (b"\x00\xff", "bad_frame"),
    ],
)
def test_a_bad_frame_is_answered_and_harms_nobody(system, frame, code):
    with Client(system, "q-ada").opened() as ada:
        ada.socket.send(frame)
        assert ada.expect("error")["code"] == code
        ada.send("heartbeat")
        ada.expect("heartbeat_ack")


@pytest.mark.usefixtures("bystander")
def test_too_many_bad_frames_end_the_socket(system):
    with Client(system, "q-many", beats=None).opened() as ada:
        for _ in range(10):
            ada.socket.send("garbage")
        assert ada.expect_close() == 4400


@pytest.mark.usefixtures("bystander")
def test_an_oversized_frame_ends_the_socket(system):
    for frame in ("x" * 5000, b"x" * 5000, "x" * 3_000_000):
        with Client(system, "q-big", beats=None).opened() as ada:
            ada.socket.send(frame)
            assert ada.expect_close() == 1009


@pytest.mark.usefixtures("bystander")
def test_a_text_in_many_fragments_is_one_frame_up_to_the_limit(system):
    with Client(system, "q-parts", beats=None).opened() as ada:
        ada.socket.send(iter(['{"event": ', '"heartbeat"', ', "data": {}}']))
        ada.expect("heartbeat_ack")
        with contextlib.suppress(ConnectionClosed):  # it may end before the last one
            ada.socket.send(iter(["x" * 1000] * 6))
        assert ada.expect_close() == 1009


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x05hello",  # not masked
        b"\xf1\x80\x00\x00\x00\x00",  # reserved bits
        b"\x83\x80\x00\x00\x00\x00",  # an opcode that does not exist
        b"\x81\x82\x00\x00\x00\x00\xff\xff",  # no UTF-8
        os.urandom(4096),
    ],
    ids=["unmasked", "reserved", "opcode", "no text", "noise"],
)
def test_bytes_that_are_no_frames_end_the_socket(system, data):
    with raw_socket(system, "q-raw") as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        end = read_to_end(sock)
    code = int.from_bytes(end[end.rindex(b"\x88") + 2 :][:2], "big")
    # Noise may be a frame by chance, of any kind but a good one.
    assert code in ({4400, 1009, 1000, 1005} if len(data) == 4096 else {4400})


def test_a_ping_is_answered(system):
    with Client(system, "q-ping").opened() as ada:
        assert ada.socket.ping(b"are you there").wait(5)


@pytest.mark.usefixtures("bystander")
def test_a_flood_ends_the_socket(system):
    with Client(system, "q-flood", beats=None).opened() as ada:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                ada.send("heartbeat")
        assert ada.expect_close() == 4429


@pytest.mark.usefixtures("bystander")
def test_a_flood_that_never_ends_is_cut(system):
    masked = b"\x81\x82\x00\x00\x00\x00{}" * 1000
    with raw_socket(system, "q-endless") as sock, pytest.raises(GONE):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            sock.sendall(masked)


def test_a_user_has_no_more_than_so_many_sockets(own_system_of):
    system = own_system_of(PRESENCE_MAX_CONNECTIONS_PER_USER="3")
    kept = [Client(system, "ada").opened() for _ in range(3)]
    assert Client(system, "ada", beats=None).expect_close() == 4429
    kept.pop().send("leave")
    wait_until(lambda: system.redis.zcard("user:ada:connections") == 2)
    with Client(system, "ada").opened():
        pass


def test_a_client_that_does_not_read_is_closed_and_delays_nobody(own_system_of):
    system = own_system_of(PRESENCE_MAX_QUEUED_BYTES="8192")
    friends = [f"friend{n}" for n in range(300)]
    system.befriend("slow", *friends)
    system.befriend("quick", *friends)
    with raw_socket(system, "slow") as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with Client(system, "quick").opened() as quick:
            ended = time.monotonic() + 60
            while system.is_online("slow") and time.monotonic() < ended:
                # Snapshots are the largest frames: have the server send many.
                for friend in friends[:50]:
                    system.admin("DELETE", f"/friendships/slow/{friend}")
                    body = {"status": "accepted"}
                    system.admin("PUT", f"/friendships/slow/{friend}", body)
            assert not system.is_online("slow")
            quick.send("heartbeat")
            quick.expect("heartbeat_ack")


GOOD_HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Upgrade", "", "bad_handshake"),
        ("Connection", "close", "bad_handshake"),
        ("Sec-WebSocket-Version", "8", "bad_handshake"),
        ("Sec-WebSocket-Key", "", "bad_handshake"),
        ("Sec-WebSocket-Key", "no base64", "bad_handshake"),
        ("Sec-WebSocket-Key", "dG9vIHNob3J0", "bad_handshake"),
    ],
)
def test_a_bad_handshake_is_answered(system, header, value, code):
    connection = http.client.HTTPConnection("127.0.0.1", system.web_ports[0])
    with contextlib.closing(connection):
        connection.request("GET", "/ws", headers={**GOOD_HANDSHAKE, header: value})
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["code"]) == (400, code)


def test_the_handshake_answers_the_key_of_the_rfc_and_takes_no_extension(system):
    headers = {**GOOD_HANDSHAKE, "Sec-WebSocket-Extensions": "permessage-deflate"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", system.web_ports[0])) as sock:
        sock.settimeout(10)
        sock.sendall(f"GET /ws HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        head = sock.recv(4096).decode("latin-1").split("\r\n\r\n")[0].lower()
    assert head.startswith("http/1.1 101 ")
    assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head
    assert "extensions" not in head
