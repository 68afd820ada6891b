"""The one WebSocket route: authenticate, open, serve, close."""

from __future__ import annotations

import logging
import socket

import flask_sock
from flask import Flask, request

from app import origins
from app.auth import ForeignOrigin, Identity, socket_identity
from app.errors import ApiError
from app.server.capacity import Capacity
from app.services import Services, services
from app.websocket.connection import Connection
from app.websocket.handshake import Handshake
from models.events import CloseCode
from models.presence import PresenceUnavailable

log = logging.getLogger(__name__)

PATH = "/ws"
FULL = "this gateway is full"


def register(app: Flask) -> None:
    """Serve WebSockets at /ws."""
    # flask-sock has no option for the class that answers the handshake.
    flask_sock.Server = Handshake
    sock = flask_sock.Sock(app)
    with app.app_context():
        capacity = Capacity.of(services().settings)

    @sock.route(PATH)  # type: ignore[untyped-decorator]
    def _socket(handshake: Handshake) -> None:
        current = services()
        counts = current.gateway.counts
        if counts.sockets >= capacity.sockets_with_refused:
            raise ApiError(503, "gateway_full", FULL)
        counts.sockets += 1
        try:
            accepted = handshake.accept()
            # Before the ticket is looked at: it is good once, and the client may need
            # it elsewhere.
            if counts.sockets > capacity.sockets:
                _refuse(current, accepted, CloseCode.TOO_SLOW, FULL)
            else:
                _serve(current, accepted)
        finally:
            counts.sockets -= 1


def _serve(current: Services, accepted: tuple[socket.socket, bytes]) -> None:
    try:
        identity = socket_identity(current)
    except ForeignOrigin as error:
        origins.refused.note(request.headers["Origin"])
        _refuse(current, accepted, CloseCode.FORBIDDEN, error.message)
    except ApiError as error:
        _refuse(current, accepted, CloseCode.NOT_AUTHENTICATED, error.message)
    except PresenceUnavailable:
        _refuse(current, accepted, CloseCode.TOO_SLOW, "presence_unavailable")
    except Exception:
        log.exception("a WebSocket could not be opened")
        _refuse(current, accepted, CloseCode.INTERNAL_ERROR, "internal error")
    else:
        current.gateway.serve(_connection(current, accepted, identity))


def _refuse(
    current: Services,
    accepted: tuple[socket.socket, bytes],
    code: CloseCode,
    reason: str,
) -> None:
    """Close with a code: a browser shows a page nothing of a refused handshake."""
    connection = _connection(current, accepted, Identity("", None))
    connection.close(code, reason)
    connection.run()


def _connection(
    current: Services, accepted: tuple[socket.socket, bytes], identity: Identity
) -> Connection:
    settings = current.settings
    sock, first = accepted
    current.gateway.counts.handshakes += 1
    return Connection(
        sock,
        current.gateway,
        connection_id=current.gateway.new_connection_id(),
        user_id=identity.user_id,
        expires_at=identity.expires_at,
        max_frame_bytes=settings.max_frame_bytes,
        max_queued_bytes=settings.max_queued_bytes,
        frames_per_second=settings.max_frames_per_second,
        first=first,
    )
