"""The one WebSocket route: authenticate, open, serve, close."""

from __future__ import annotations

import logging

from flask import Flask, request
from flask_sock import Sock
from simple_websocket import Server

from app.auth import ForeignOrigin, Identity, socket_identity
from app.errors import ApiError
from app.gateway.connection import Connection
from app.services import Services, services
from models.events import CloseCode
from models.presence import PresenceUnavailable

log = logging.getLogger(__name__)

PATH = "/ws"


class _NoReader:
    """In place of simple-websocket's reader thread: `Connection` reads by itself."""

    def __init__(self, target: object) -> None:
        self.name = ""
        self._target = target

    def start(self) -> None:
        """Do nothing."""


class _NoEvent:
    """In place of the event that the reader thread would set."""


def register(app: Flask) -> None:
    """Serve WebSockets at /ws."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "thread_class": _NoReader,
        "event_class": _NoEvent,
    }
    sock = Sock(app)

    @app.before_request
    def _no_compression() -> None:
        # It is always accepted when offered, and costs up to 300 KB per connection.
        if request.path == PATH:
            request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)

    @sock.route(PATH)  # type: ignore[untyped-decorator]
    def _socket(websocket: Server) -> None:
        current = services()
        try:
            identity = socket_identity()
        except ForeignOrigin as error:
            _refuse(current, websocket, CloseCode.FORBIDDEN, error.message)
        except ApiError as error:
            _refuse(current, websocket, CloseCode.NOT_AUTHENTICATED, error.message)
        except PresenceUnavailable:
            _refuse(current, websocket, CloseCode.TOO_SLOW, "presence_unavailable")
        else:
            current.gateway.serve(_connection(current, websocket, identity))
        # Ours is the only word on the socket: flask-sock must not close it again.
        websocket.connected = False


def _refuse(current: Services, websocket: Server, code: CloseCode, reason: str) -> None:
    """Close with a code: a browser shows a page nothing of a refused handshake."""
    connection = _connection(current, websocket, Identity("", None))
    connection.close(code, reason)
    connection.run()


def _connection(current: Services, websocket: Server, identity: Identity) -> Connection:
    settings = current.settings
    sock, protocol = websocket.sock, websocket.ws.connection
    if sock is None or protocol is None:
        message = "there is no socket, or no handshake was made on it"
        raise ConnectionError(message)
    return Connection(
        sock,
        protocol,
        current.gateway,
        connection_id=current.gateway.new_connection_id(),
        user_id=identity.user_id,
        expires_at=identity.expires_at,
        max_frame_bytes=settings.max_frame_bytes,
        max_queued_bytes=settings.max_queued_bytes,
        frames_per_second=settings.max_frames_per_second,
    )
