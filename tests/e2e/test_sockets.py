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

from models.telemetry.redaction import redactor
from tests.clients import Client
from tests.raw import close_code, raw_socket, read_to_end
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
    status, answer = system.request("GET", "/api/friends/online-status", token=token)
    assert status == 401
    assert answer["error"]["code"] == "not_authenticated"
    message = answer["error"]["message"]
    assert redactor()(message) == message  # the log has all its words


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
    ("data", "expected"),
    [
        (b"\x81\x05hello", {1002}),  # not masked
        (b"\xf1\x80\x00\x00\x00\x00", {1002}),  # reserved bits
        (b"\x83\x80\x00\x00\x00\x00", {1002}),  # an opcode that does not exist
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", {1007}),  # no UTF-8
        # Noise may be a frame by chance, of any kind but a good one.
        (os.urandom(4096), {1000, 1002, 1005, 1007, 1009}),
    ],
    ids=["unmasked", "reserved", "opcode", "no text", "noise"],
)
def test_bytes_that_are_no_frames_end_the_socket(system, data, expected):
    with raw_socket(system, "q-raw") as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        end = read_to_end(sock)
    assert int.from_bytes(end[end.rindex(b"\x88") + 2 :][:2], "big") in expected


def test_a_ping_is_answered(system):
    with Client(system, "q-ping").opened() as ada:
        assert ada.socket.ping(b"are you there").wait(5)


PADDED = b'{"event":"heartbeat"%s}' % (b" " * 178)
"""A heartbeat of 200 bytes."""


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame, with a mask that changes nothing."""
    size = bytes([0x80 | len(payload)])
    if len(payload) > 125:
        size = b"\xfe" + len(payload).to_bytes(2)
    return bytes([first]) + size + bytes(4) + payload


def test_a_frame_that_comes_byte_by_byte_is_one_frame(system):
    with raw_socket(system, "q-bytes") as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for byte in masked(0x81, PADDED):
                sock.sendall(bytes([byte]))
                time.sleep(0.0005)  # each in a segment, and in a read, of its own
        sock.sendall(masked(0x81, b'{"event":"leave"}'))
        end = read_to_end(sock)
    assert end.count(b"heartbeat_ack") == 2
    assert close_code(end) == 1000


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "frame",
    [masked(0x00, b""), masked(0x00, b"x"), masked(0x89, b""), masked(0x8A, b"")],
    ids=["empty fragments", "tiny fragments", "pings", "pongs"],
)
def test_frames_without_end_are_too_many(system, frame):
    with raw_socket(system, "q-frames") as sock:
        sock.sendall(masked(0x01, b"") + frame * 200)
        assert close_code(read_to_end(sock)) == 4429


def test_a_client_that_closes_gets_its_code_back(system):
    for payload in (b"", b"\x03\xe8", b"\x03\xf6bad gateway", b"\x0f\xa0"):
        with raw_socket(system, "q-close") as sock:
            sock.sendall(masked(0x88, payload))
            end = read_to_end(sock)
        assert end.endswith(bytes([0x88, len(payload)]) + payload)


def test_a_client_that_leaves_and_shuts_down_its_half_gets_1000(system):
    with raw_socket(system, "q-half") as sock:
        sock.sendall(masked(0x81, b'{"event":"leave"}'))
        sock.shutdown(socket.SHUT_WR)
        assert close_code(read_to_end(sock)) == 1000


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


def test_a_user_has_no_more_than_so_many_sockets(system):
    with system.another_web(PRESENCE_MAX_CONNECTIONS_PER_USER="3") as web:
        kept = [Client(system, "q-many", web=web).opened() for _ in range(3)]
        assert Client(system, "q-many", web=web, beats=None).expect_close() == 4429
        kept.pop().send("leave")
        wait_until(lambda: system.redis.zcard("user:q-many:connections") == 2)
        with Client(system, "q-many", web=web).opened():
            pass


@pytest.mark.slow
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
        ("Upgrade", "h2c", "bad_handshake"),
        ("Connection", "notupgrade, keep-alive", "bad_handshake"),
        ("Host", "", "bad_handshake"),
        ("Host", "no host", "bad_handshake"),
        ("Content-Length", "2", "bad_handshake"),
        ("Sec-WebSocket-Key", "", "bad_handshake"),
        ("Sec-WebSocket-Key", "no base64", "bad_handshake"),
        ("Sec-WebSocket-Key", "dG9vIHNob3J0", "bad_handshake"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ", "bad_handshake"),
    ],
)
def test_a_bad_handshake_is_answered(system, header, value, code):
    connection = http.client.HTTPConnection("127.0.0.1", system.web_ports[0])
    with contextlib.closing(connection):
        headers = {**GOOD_HANDSHAKE, header: value}
        body = b"{}" if header == "Content-Length" else None
        connection.request("GET", "/ws", body, headers)
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


def answer_to(system: System, head: str, behind: bytes = b"") -> bytes:
    """What comes within a moment, or to the end."""
    with socket.create_connection(("127.0.0.1", system.web_ports[0])) as sock:
        sock.sendall(head.encode() + behind)
        sock.settimeout(10)
        answer = b""
        while b"\r\n\r\n" not in answer and (data := sock.recv(4096)):
            answer += data
    return answer


def request(line: str, host: str = "Host: localhost\r\n", **changed: str) -> str:
    """The head of a handshake that would be good but for what is `changed`."""
    headers = GOOD_HANDSHAKE | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{line}\r\n{host}{lines}\r\n"


@pytest.mark.parametrize(
    ("line", "host", "status"),
    [
        ("GET /ws HTTP/1.0", "Host: localhost\r\n", 400),
        ("GET /ws HTTP/1.1", "", 400),
        ("GET /ws HTTP/1.1", "Host: a\r\nHost: b\r\n", 400),
        ("HEAD /ws HTTP/1.1", "Host: localhost\r\n", 405),
        ("POST /ws HTTP/1.1", "Host: localhost\r\nContent-Length: 0\r\n", 405),
        (
            "GET /ws HTTP/1.1",
            "Host: localhost\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            400,
        ),
    ],
)
def test_what_cannot_be_a_handshake_gets_no_101(system, line, host, status):
    assert int(answer_to(system, request(line, host)).split()[1]) == status


@pytest.mark.parametrize("version", ["8", "0", "14", "13, 8", "013", "x"])
def test_another_version_is_told_ours(system, version):
    answer = answer_to(
        system, request("GET /ws HTTP/1.1", Sec_WebSocket_Version=version)
    ).lower()
    assert answer.startswith(b"http/1.1 426 ")
    assert b"\r\nsec-websocket-version: 13\r\n" in answer
    assert b"\r\nupgrade: websocket\r\n" in answer
    assert b"\r\nconnection: upgrade\r\n" in answer


@pytest.mark.parametrize(
    "changed",
    [{"Upgrade": "foo/2, WebSocket"}, {"Connection": "Keep-Alive,upgrade , x"}],
)
def test_a_handshake_is_good_with_more_in_its_lists(system, changed):
    answer = answer_to(system, request("GET /ws HTTP/1.1", **changed))
    assert answer.startswith(b"HTTP/1.1 101 ")


def test_frames_right_behind_the_handshake_are_heard(system):
    frames = masked(0x81, b'{"event":"heartbeat"}') + masked(0x81, b'{"event":"leave"}')
    line = request(
        "GET /ws HTTP/1.1", Authorization=f"Bearer {system.token('q-early')}"
    )
    with socket.create_connection(("127.0.0.1", system.web_ports[0])) as sock:
        sock.settimeout(10)
        sock.sendall(line.encode() + frames)
        assert close_code(read_to_end(sock)) == 1000


# The route


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/x/metrics", {"SCRIPT_NAME": "/x"}, 404),
        ("/x/metrics", {"SCRIPT-NAME": "/x"}, 404),
        ("/healthz", {"SCRIPT_NAME": "/nope"}, 200),
        ("/healthz", {"SCRIPT-NAME": "/nope", "PATH-INFO": "/nope"}, 200),
        ("/healthz", {"PATH_INFO": "/nope"}, 200),
        ("/nope", {"PATH_INFO": "/healthz"}, 404),
        ("/healthz", {"REQUEST_METHOD": "POST", "X-HTTP-Method-Override": "POST"}, 200),
        ("/nope", {"X-Original-URL": "/healthz", "X-Rewrite-URL": "/healthz"}, 404),
        ("/x/healthz", {"X-Forwarded-Prefix": "/x"}, 404),
        ("/healthz", {"X-Forwarded-Host": "a b", "Forwarded": "host=a;proto=b"}, 200),
        ("/healthz", {"X-Forwarded-Proto": "ftp", "X-Forwarded-Ssl": "on"}, 200),
        ("/healthz", {"Upgrade": "websocket", "Connection": "Upgrade"}, 200),
        ("/healthz", {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}, 200),
        ("/api/admin/users/ada", {"REMOTE_USER": "host", "REMOTE-USER": "host"}, 401),
    ],
)
def test_headers_never_change_the_route(system, path, headers, status):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = answer_to(system, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
    assert int(answer.split()[1]) == status


@pytest.mark.parametrize(
    "claims",
    [
        '"exp":1%s' % ("0" * 400),
        '"exp":1%s' % ("0" * 5000),
        '"exp":-1%s' % ("0" * 400),
        '"exp":1e999',
        '"exp":NaN',
        '"exp":-Infinity',
        '"exp":"9999999999"',
        '"exp":true',
        '"exp":null',
        '"exp":{}',
        '"nbf":-1%s' % ("0" * 400),
        '"nbf":NaN',
        '"nbf":"0"',
        '"nbf":false',
        '"iat":1%s' % ("0" * 400),
        '"iat":Infinity',
        '"iat":"yesterday"',
        '"iat":null',
        '"x":%s' % ("[" * 2500 + "]" * 2500),
    ],
    ids=lambda claims: f"{claims[:16]} {len(claims)}",
)
def test_a_signed_token_with_strange_times_is_refused(system, claims):
    token = jwt.api_jws.encode(f'{{"sub":"x-ada",{claims}}}'.encode(), JWT_SECRET)
    status, answer = system.request("GET", "/api/friends/online-status", token=token)
    assert (status, answer["error"]["code"]) == (401, "not_authenticated")
    assert Client(system, token=token, beats=None).expect_close() == 4401


def test_a_fault_after_the_101_is_a_close_frame(system):
    system.redis.lpush("ws_ticket:no-text", "what is no ticket")
    client = Client(system, query="?ticket=no-text", beats=None)
    assert client.expect_close() in {1011, 1013}
