"""How clients talk to the servers: Greendot's frames and those of Socket.IO 5.

Both carry the same two events, so one generator measures all. A protocol turns a frame
into calls on the client that got it.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

GREENDOT_HEARTBEAT = b'{"event":"heartbeat","data":{}}'
GREENDOT_LEAVE = b'{"event":"leave","data":{}}'


class Receiver(Protocol):
    """Who is told what a frame says."""

    token: str

    def send(self, payload: bytes) -> None:
        """Answer with a text frame."""

    def on_snapshot(self, statuses: dict[str, dict[str, Any]]) -> None:
        """The whole status map came."""

    def on_change(self, user: str, status: str, timestamp: int) -> None:
        """A friend's status changed."""


class GreendotWire:
    """Greendot's own protocol; clients send heartbeats."""

    path = "/ws"
    heartbeat = GREENDOT_HEARTBEAT
    leave = GREENDOT_LEAVE
    server_closes = True
    """The server answers `leave` with a close."""

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """What a client shows at the handshake."""
        return {"Authorization": f"Bearer {token}"}

    @staticmethod
    def take(payload: bytes, to: Receiver) -> None:
        """Handle a text frame."""
        message = orjson.loads(payload)
        event, data = message["event"], message["data"]
        if event == "friend_status_changed":
            to.on_change(data["user_id"], data["status"], data["timestamp"])
        elif event == "presence_snapshot":
            to.on_snapshot(data["statuses"])


class SocketIOWire:
    """Socket.IO over Engine.IO 4, WebSocket only; the server sends the pings."""

    path = "/socket.io/?EIO=4&transport=websocket"
    heartbeat = None
    leave = b"41"
    server_closes = False

    @staticmethod
    def headers(_token: str) -> dict[str, str]:
        """The token travels in the first packet instead."""
        return {}

    @staticmethod
    def take(payload: bytes, to: Receiver) -> None:
        """Handle a text frame."""
        kind = payload[:2]
        if kind == b"42":
            event, data = orjson.loads(payload[2:])
            if event == "friend_status_changed":
                to.on_change(data["user_id"], data["status"], data["timestamp"])
            elif event == "presence_snapshot":
                to.on_snapshot(data["statuses"])
        elif kind == b"2":
            to.send(b"3")
        elif kind[:1] == b"0":
            to.send(b"40" + orjson.dumps({"token": to.token}))


Wire = type[GreendotWire] | type[SocketIOWire]

PROTOCOLS: dict[str, Wire] = {"greendot": GreendotWire, "socketio": SocketIOWire}
