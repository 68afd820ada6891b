"""A gateway that is full, or low on files, is healthy and says so at once."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from models.events import CloseCode
from tests.clients import Client
from tests.figures import scrape
from tests.raw import close_code, raw_socket, read_to_end, tcp_socket
from tests.system import System, wait_until

pytestmark = pytest.mark.e2e

PLACES = 5
SLOW_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
KEPT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW_BODY = (
    b"POST /demo/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nu"
)


def assert_healthy(system: System, web: int = 0) -> None:
    for path in ("/healthz", "/readyz"):
        assert system.request("GET", path, web=web)[0] == 200
    scrape(system, web)


@pytest.fixture
def small(system: System) -> Iterator[int]:
    """The number of a gateway that has PLACES."""
    with system.another_web((64, 4096), PRESENCE_WORKER_CONNECTIONS=str(PLACES)) as web:
        yield web


def test_the_socket_over_the_limit_is_refused_at_once(system, small, sockets):
    gateway = system.processes[f"web{small}"]
    limit, _ = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    assert limit == PLACES + 1000 + 128
    clients = [
        Client(system, f"user{number}", web=small).opened() for number in range(PLACES)
    ]
    assert_healthy(system, small)
    _, answer = system.request("POST", "/api/ws-ticket", token=system.token("late"))
    query = f"?ticket={answer['data']['ticket']}"
    late = Client(system, query=query, web=small, beats=None)
    assert late.expect_close() == 1013
    # Any number of them, and also those that do not answer the close.
    for number in range(250):
        sockets.append(tcp_socket(system, web=small))
        sockets[-1].sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        if number % 50 == 0:
            assert_healthy(system, small)
    answers = [read_to_end(sock) for sock in sockets]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 101 ")]
    assert {close_code(answer) for answer in refused} == {1013}
    for answer in answers:
        assert answer in refused or (
            answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer
        )
    for client in clients:  # those who were there never noticed
        client.send("heartbeat")
        client.expect("heartbeat_ack")
    # The ticket was not spent, and a place is given away when its socket has ended.
    clients.pop().send("leave")

    def is_let_in() -> bool:
        with Client(system, query=query, web=small, beats=None) as late:
            try:
                return late.expect("welcome")["user_id"] == "late"
            except ConnectionClosed:
                return False

    wait_until(is_let_in)
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.slow
def test_with_few_files_it_takes_fewer_sockets_and_stays_healthy(
    own_system_of, sockets
):
    system = own_system_of(
        files=(64, 256),
        PRESENCE_WORKER_CONNECTIONS="10000",
        PRESENCE_ONLINE_TTL="60",
        PRESENCE_HANDSHAKE_TIMEOUT="3",
        PRESENCE_DEMO="1",
    )
    (warning,) = [
        line
        for line in system.logs().splitlines()
        if "PRESENCE_WORKER_CONNECTIONS=10000 needs" in line
    ]
    most = 96
    assert f"is 256: each process takes at most {most} WebSockets" in warning
    with Client(system, "ada").opened() as ada:
        for number in range(most - 1):
            sockets.append(raw_socket(system, f"user{number}"))
        wait_until(lambda: scrape(system)["greendot_connections"] == most)
        assert_healthy(system)
        assert Client(system, "late", beats=None).expect_close() == 1013
        # Idle ones take all the room that is left, and their number is no limit.
        for begin in (b"", SLOW_HEAD, KEPT, SLOW_BODY):
            idle = [tcp_socket(system) for _ in range(70)]
            sockets += idle
            for sock in idle:
                sock.sendall(begin)
            assert_healthy(system)
        ada.send("heartbeat")
        ada.expect("heartbeat_ack")
        assert scrape(system)["greendot_connections"] == most
    assert "Too many open files" not in system.logs()
    assert "Traceback" not in system.logs()


def test_a_planned_stop_says_so_to_every_client(own_system_of):
    """gunicorn waits for the sockets, though nothing of its own serves them."""
    system = own_system_of(PRESENCE_DRAIN_WINDOW="5")
    clients = [Client(system, f"user{number}").opened() for number in range(20)]
    system.processes["web0"].ask_to_stop()
    assert {client.expect_close(20) for client in clients} == {CloseCode.RESTART}
    system.processes["web0"].stop()
    assert system.logs().count(" code=1012 ") == len(clients)
