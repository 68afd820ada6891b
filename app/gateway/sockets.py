"""The one WebSocket route: authenticate, open, serve, close."""

from __future__ import annotations

import flask_sock
from flask import Flask, request
from werkzeug.exceptions import HTTPException

from app import origins
from app.auth import ForeignOrigin, Identity, socket_identity
from app.errors import ApiError
from app.gateway.connection import Connection
from app.gateway.handshake import AcceptedSocket
from app.services import Services, services
from models.events import CloseCode
from models.presence import PresenceUnavailable

PATH = "/ws"


def register(app: Flask) -> None:
    """Serve WebSockets at /ws."""
    # flask-sock has no option for the class that answers the handshake.
    flask_sock.Server = AcceptedSocket
    sock = flask_sock.Sock(app)

    @sock.route(PATH)  # type: ignore[untyped-decorator]
    def _socket(accepted: AcceptedSocket) -> None:
        current = services()
        try:
            identity = socket_identity(current)
        except ForeignOrigin as error:
            origins.refused.note(request.headers["Origin"])
            _refuse(current, accepted, CloseCode.FORBIDDEN, error.message)
        except ApiError as error:
            _refuse(current, accepted, CloseCode.NOT_AUTHENTICATED, error.message)
        except PresenceUnavailable:
            _refuse(current, accepted, CloseCode.TOO_SLOW, "presence_unavailable")
        except HTTPException as error:  # the request was bad: its Host, for example
            _refuse(current, accepted, CloseCode.BAD_FRAME, error.name)
        else:
            current.gateway.serve(_connection(current, accepted, identity))


def _refuse(
    current: Services, accepted: AcceptedSocket, code: CloseCode, reason: str
) -> None:
    """Close with a code: a browser shows a page nothing of a refused handshake."""
    connection = _connection(current, accepted, Identity("", None))
    connection.close(code, reason)
    connection.run()


def _connection(
    current: Services, accepted: AcceptedSocket, identity: Identity
) -> Connection:
    settings = current.settings
    current.gateway.counts.handshakes += 1
    return Connection(
        accepted.sock,
        current.gateway,
        connection_id=current.gateway.new_connection_id(),
        user_id=identity.user_id,
        expires_at=identity.expires_at,
        max_frame_bytes=settings.max_frame_bytes,
        max_queued_bytes=settings.max_queued_bytes,
        frames_per_second=settings.max_frames_per_second,
    )
