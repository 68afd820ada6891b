"""Clients as nobody wants them: slow, silent, or never quiet. A process of its own.

`python -m bench.attackers` reads a plan from stdin (a line of JSON), does its worst
until stdin ends, and then ends itself. A client that is thrown out comes back at
once.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

MANY = 500
PER_USER = 100
"""As many sockets as a user may have."""
SMALL = 2048
"""What the kernel takes for a client that does not read (doubled by Linux)."""
REFRESH_SECONDS = 0.5
HEARTBEAT = b'\x81\x95\x00\x00\x00\x00{"event":"heartbeat"}'
"""A text frame, masked with zeros."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The server to attack, and the users to attack as.

    - `many`: a user with many friends, whose snapshot grows large.
    - `friend`: one of them.
    - `tokens`: of users for the rest.
    """

    kind: str
    host: str
    port: int
    many: str
    many_token: str
    friend: str
    tokens: list[str]
    service_key: str

    def tcp(self, receive_buffer: int | None = None) -> socket.socket:
        """A socket on which nothing has been said."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(30)
        sock.connect((self.host, self.port))
        return sock

    def websocket(self, token: str, receive_buffer: int | None = None) -> socket.socket:
        """A socket after the handshake."""
        sock = self.tcp(receive_buffer)
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /ws HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        sock.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            byte = sock.recv(1)
            if not byte:
                raise ConnectionResetError
            head += byte
        return sock


def read_all(plan: Plan) -> None:
    """What a good client does: reads all that comes, and beats."""
    with plan.websocket(plan.many_token) as sock:
        beat_at = 0.0
        while True:
            if time.monotonic() - beat_at > 1:
                beat_at = time.monotonic()
                sock.sendall(HEARTBEAT)
            if select.select([sock], [], [], 0.5)[0] and not sock.recv(1 << 20):
                return


def read_nothing(plan: Plan) -> None:
    """Beat, and read nothing."""
    with plan.websocket(plan.many_token, SMALL) as sock:
        while True:
            sock.sendall(HEARTBEAT)
            time.sleep(0.2)


def read_slowly(plan: Plan) -> None:
    """Beat, and read a byte a second."""
    with plan.websocket(plan.many_token, SMALL) as sock:
        for turn in itertools.count():
            sock.sendall(HEARTBEAT)
            if turn % 5 == 0:
                sock.recv(1)
            time.sleep(0.2)


def say_nothing(plan: Plan) -> None:
    """500 connections without a request."""
    hold([plan.tcp() for _ in range(MANY)], lambda _: plan.tcp())


def never_beat(plan: Plan) -> None:
    """500 sockets without a heartbeat."""
    tokens = [plan.tokens[number // PER_USER] for number in range(MANY)]
    sockets = [plan.websocket(token) for token in tokens]
    hold(sockets, lambda number: plan.websocket(tokens[number]))


def hold(sockets: list[socket.socket], again: Callable[[int], socket.socket]) -> None:
    """Keep them open; each that is ended is opened anew."""
    watched = select.epoll()
    numbers = {}
    for number, sock in enumerate(sockets):
        numbers[sock.fileno()] = number
        watched.register(sock, select.EPOLLIN)
    while True:
        for descriptor, _ in watched.poll(1):
            number = numbers[descriptor]
            if not sockets[number].recv(65536):
                watched.unregister(descriptor)
                del numbers[descriptor]
                sockets[number].close()
                sockets[number] = again(number)
                numbers[sockets[number].fileno()] = number
                watched.register(sockets[number], select.EPOLLIN)


def flood(plan: Plan) -> None:
    """As many frames as the socket takes."""
    with plan.websocket(plan.tokens[-1]) as sock:
        while True:
            sock.sendall(HEARTBEAT * 1000)


KINDS: dict[str, tuple[Callable[[Plan], None], ...]] = {
    "nobody": (read_all,),
    "reads nothing": (read_nothing,),
    "reads a byte a second": (read_slowly,),
    "500 without a request": (read_all, say_nothing),
    "500 without a heartbeat": (read_all, never_beat),
    "floods": (read_all, flood),
}
"""The users who are there beside the pair that is measured. The user with many friends
always is, and mostly reads as expected: so all rows have the same to do for it."""


def refresh(plan: Plan) -> None:
    """As the host application: change a friendship again and again, for each change
    sends the user with many friends a snapshot."""
    connection = http.client.HTTPConnection(plan.host, plan.port, timeout=30)
    for status in itertools.cycle(("pending", "accepted")):
        connection.request(
            "PUT",
            f"/api/admin/friendships/{plan.many}/{plan.friend}",
            json.dumps({"status": status}),
            {"Authorization": f"Bearer {plan.service_key}"},
        )
        connection.getresponse().read()
        time.sleep(REFRESH_SECONDS)


def again_and_again(work: Callable[[Plan], None], plan: Plan) -> None:
    """Do `work` again and again."""
    while True:
        with suppress(OSError):
            work(plan)


def main() -> None:
    """Do what the plan says, until stdin ends."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    for work in (*KINDS[plan.kind], refresh):
        threading.Thread(target=again_and_again, args=(work, plan), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
