"""A client of a gateway that runs step by step in the test itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import orjson
from wsproto.connection import Connection as WebSocketProtocol
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from app.gateway.client_connection import ClientConnection
from app.gateway.gateway import Gateway
from app.server.answer_socket import TakenSocket, detached
from app.tokens import Identity

BEFORE, AFTER = "before", "after"
"""Ann's friends."""


_clients: list[Client] = []


def close_all() -> None:
    """Close the sockets of all clients so far."""
    while _clients:
        _clients.pop().close()


def close_ours(connection: ClientConnection) -> None:
    """Close our end of a connection, whether it was served or not."""
    connection._close_socket()
    connection._writer.close()


class Client:
    """The other end of a connection."""

    def __init__(self, gateway: Gateway, user: str | Identity) -> None:
        ours, self._socket = gevent.socket.socketpair()
        self._socket.settimeout(5)
        identity = Identity(user, None) if isinstance(user, str) else user
        self._frames = WebSocketProtocol(ConnectionType.CLIENT)
        self.connection = gateway.new_connection(TakenSocket(detached(ours)), identity)
        _clients.append(self)

    def close(self) -> None:
        """Close both ends."""
        close_ours(self.connection)
        self._socket.close()

    def leave(self) -> None:
        """Close the client's end."""
        self._socket.close()

    def has_unread(self) -> bool:
        """Whether something has come since the last time."""
        with gevent.Timeout(0, exception=False):  # type: ignore[arg-type]
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        return False

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """What has come since the last time: the events' names and data."""
        self._frames.receive_data(self._socket.recv(1 << 20))
        found = []
        for frame in self._frames.events():
            assert isinstance(frame, TextMessage)
            message = orjson.loads(frame.data)
            found.append((message["event"], message["data"]))
        return found

    def statuses(self) -> dict[str, str]:
        """The map after all that has come: a snapshot is the map, and of each user the
        newest timestamp wins."""
        found: dict[str, dict[str, object]] = {}
        for event, data in self.messages():
            if event == "presence_snapshot":
                found = data["statuses"]
            elif event == "friend_status_changed":
                known = found.get(data["user_id"], data)
                newest = max(known, data, key=lambda one: one["timestamp"])
                found[data["user_id"]] = newest
        return {user_id: str(one["status"]) for user_id, one in found.items()}


def open_them(gateway: Gateway, *connections: ClientConnection) -> None:
    """What the gateway's loops do, one after the other."""
    for connection in connections:
        gateway.sessions[0].connect(connection)
    steps: list[Callable[[], None]] = [
        gateway.connects[0].step,
        gateway.snapshots.step,
        gateway.event_reader.step,
    ]
    for step in steps:  # one that has nothing to do waits, which is no matter here
        gevent.with_timeout(3, step, timeout_value=None)
