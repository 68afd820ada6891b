"""Sockets without a library, to do what no library would."""

from __future__ import annotations

import base64
import os
import socket

from tests.system import System


def tcp_socket(
    system: System, receive_buffer: int | None = None, *, web: int = 0
) -> socket.socket:
    """A socket on which nothing has been said. `receive_buffer`: the bytes that the
    kernel takes for a client that does not read, doubled by Linux."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", system.web_ports[web]))
    return sock


def raw_socket(
    system: System, user_id: str, receive_buffer: int | None = None
) -> socket.socket:
    """A socket after the handshake, to send bytes that no library would send."""
    sock = tcp_socket(system, receive_buffer)
    request = (
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
        f"Authorization: Bearer {system.token(user_id)}\r\n\r\n"
    )
    sock.sendall(request.encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b" 101 " in head.splitlines()[0]
    return sock


def close_code(end: bytes) -> int:
    """The code of the close frame that the server's last bytes are."""
    at = end.rindex(b"\x88")
    assert at + 2 + end[at + 1] == len(end)
    return int.from_bytes(end[at + 2 : at + 4], "big")


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the server ends the socket."""
    found = b""
    while data := sock.recv(65536):
        found += data
    return found
