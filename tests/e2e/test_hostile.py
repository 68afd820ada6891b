"""Clients that are slow or silent, on purpose or not: each is let go in a bounded time,
with a bounded memory, and nobody else notices."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import time

import pytest

from tests.clients import Client
from tests.figures import scrape
from tests.raw import close_code, raw_socket, read_to_end, tcp_socket
from tests.system import SERVICE_KEY, wait_until

pytestmark = pytest.mark.e2e

MANY = 500
TTL = 20.0
"""Seconds of silence. All of MANY sockets are open before the first one is closed."""
GONE = (BrokenPipeError, ConnectionResetError)


# Before the handshake


def test_one_that_asks_without_end_keeps_nobody_waiting(system, sockets):
    count = 3000  # about a second of work for the server
    greedy = tcp_socket(system)
    sockets.append(greedy)
    with Client(system, "ada").opened() as ada:
        greedy.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
        answered = greedy.recv(1)
        ada.send("heartbeat")
        ada.expect("heartbeat_ack")
        greedy.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while data := greedy.recv(65536):
                answered += data
    assert answered.count(b"HTTP/1.1 200") < count


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /ws HT", id="half a line"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", id="half a head"
        ),
    ],
)
def test_500_that_ask_for_nothing_are_cut_and_keep_nobody_out(
    own_system_of, sockets, begin
):
    # They take every connection that there is.
    system = own_system_of(
        PRESENCE_HANDSHAKE_TIMEOUT="3", PRESENCE_WORKER_CONNECTIONS=str(MANY)
    )
    for _ in range(MANY):
        sockets.append(tcp_socket(system))
        sockets[-1].sendall(begin)
    with Client(system, "ada").opened() as ada:
        ada.send("heartbeat")
        ada.expect("heartbeat_ack")
        assert [read_to_end(sock) for sock in sockets] == [b""] * MANY
    assert "Traceback" not in system.logs()


@pytest.fixture(scope="module")
def hasty(system):
    """The number of a gateway that gives nobody more than a second."""
    with system.another_web(PRESENCE_HANDSHAKE_TIMEOUT="1") as web:
        yield web


def test_a_head_that_comes_line_by_line_for_ever_is_cut(system, hasty):
    with tcp_socket(system, web=hasty) as sock, pytest.raises(GONE):
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.2)
            sock.sendall(b"X-More: to come\r\n")


def test_a_body_that_does_not_come_is_not_waited_for(system, hasty):
    head = (
        "PUT /api/admin/users/ada HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {SERVICE_KEY}\r\nContent-Length: 1000\r\n\r\n"
    )
    with tcp_socket(system, web=hasty) as sock:
        sock.sendall(head.encode() + b"{")
        assert read_to_end(sock).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in system.processes[f"web{hasty}"].log.read_text()


@pytest.mark.slow
def test_who_asks_without_pause_and_reads_no_answer_is_cut(system, hasty):
    ask = b"GET /static/greendot/client.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50
    with (
        tcp_socket(system, receive_buffer=2048, web=hasty) as sock,
        pytest.raises(GONE),
    ):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            # A time-out: our own buffer is full, since nobody reads us any more.
            sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                sock.sendall(ask)
    with Client(system, "ada", web=hasty).opened():
        pass
    assert "Traceback" not in system.processes[f"web{hasty}"].log.read_text()


@pytest.mark.slow
def test_who_is_slow_but_alive_is_not_cut(own_system_of):
    system = own_system_of(PRESENCE_HANDSHAKE_TIMEOUT="2", PRESENCE_ONLINE_TTL="30")
    address = ("127.0.0.1", system.web_ports[0])
    connection = http.client.HTTPConnection(*address, timeout=10)
    body = b'{"display_name": "Ada"}'
    with (
        contextlib.closing(connection),
        Client(system, "grace", beats=None).opened() as grace,
    ):
        for _ in range(3):  # kept alive from one to the next
            connection.putrequest("PUT", "/api/admin/users/ada")
            connection.putheader("Authorization", f"Bearer {SERVICE_KEY}")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            sock = connection.sock
            for part in (body[:5], body[5:10], body[10:]):
                time.sleep(0.8)
                connection.send(part)
            answer = connection.getresponse()
            assert answer.status in {200, 201}
            answer.read()
            assert connection.sock is sock
        # A WebSocket may say nothing for longer than that.
        grace.send("heartbeat")
        grace.expect("heartbeat_ack")


# After it


@pytest.mark.slow
def test_500_that_never_beat_are_closed_after_the_ttl(own_system_of, sockets):
    system = own_system_of(PRESENCE_ONLINE_TTL=str(TTL))
    users = [f"silent{number}" for number in range(10)]
    with Client(system, "ada").opened() as ada:
        for number in range(MANY):
            sockets.append(raw_socket(system, users[number % len(users)]))
        wait_until(lambda: scrape(system)["greendot_connections"] == MANY + 1)
        assert scrape(system)["greendot_online_users"] == len(users) + 1
        ada.send("heartbeat")
        ada.expect("heartbeat_ack")
        for sock in sockets:
            sock.settimeout(TTL + 10)
            assert close_code(read_to_end(sock)) == 4408
        wait_until(lambda: scrape(system)["greendot_online_users"] == 1)
        figures = scrape(system)
        assert figures["greendot_connections"] == 1
        assert figures["greendot_closes_total:4408"] == MANY
        assert not any(map(system.is_online, users))


SNAPSHOT_BYTES = 1000 * 100
"""Of 1,000 friends; some 65 bytes each."""


@pytest.mark.slow
def test_who_reads_a_byte_a_second_is_closed_and_his_queue_is_bounded(own_system_of):
    bound = 262144
    system = own_system_of(
        PRESENCE_MAX_QUEUED_BYTES=str(bound), PRESENCE_MAX_FRAMES_PER_SECOND="100"
    )
    friends = [f"friend{number}" for number in range(1000)]
    system.befriend("slow", *friends)
    system.befriend("quick", "other")
    with (
        raw_socket(system, "slow", receive_buffer=2048) as slow,
        Client(system, "quick").opened() as quick,
    ):
        read_at = time.monotonic()
        most = 0
        statuses = itertools.cycle(["pending", "accepted"])
        deadline = time.monotonic() + 90
        while not (figures := scrape(system))["greendot_closes_total:1013"]:
            assert time.monotonic() < deadline
            most = max(most, int(figures["greendot_queued_bytes"]))
            # Snapshots are the largest frames: have the server send many.
            body = {"status": next(statuses)}
            system.admin("PUT", "/friendships/slow/friend0", body)
            slow.sendall(b"\x81\x95\x00\x00\x00\x00" + b'{"event":"heartbeat"}')
            if time.monotonic() - read_at >= 1:
                read_at = time.monotonic()
                assert len(slow.recv(1)) == 1
        # Beyond it: the snapshot under way, and the last one, which closes him.
        assert bound < most <= bound + 2 * SNAPSHOT_BYTES
        # His queue is given up for the close frame, which he gets if he reads now.
        assert close_code(read_to_end(slow)) == 1013
        wait_until(lambda: scrape(system)["greendot_queued_bytes"] == 0)
        quick.send("heartbeat")
        quick.expect("heartbeat_ack")


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        ("GET /healthz?" + 5000 * "a" + " HTTP/1.1", 414, "request_uri_too_long"),
        (
            "GET /healthz HTTP/1.1\r\nX-Long: " + 9000 * "a",
            431,
            "request_header_fields_too_large",
        ),
        ("GET /healthz HTTP/9.9", 400, "bad_request"),
        ("GET  HTTP/1.1", 400, "bad_request"),
        ("GET /healthz HTTP/1.1\r\nBad Name: x", 400, "bad_request"),
        ("GET /healthz HTTP/1.1\r\nTransfer-Encoding: zip", 501, "not_implemented"),
    ],
    ids=["line", "header", "version", "no path", "name", "coding"],
)
def test_a_request_that_cannot_be_read_gets_json(system, request_head, status, code):
    with tcp_socket(system) as sock:
        sock.sendall(f"{request_head}\r\nHost: localhost\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json"
        error = json.loads(answer.read())["error"]
        assert error["code"] == code
        assert error["message"]
