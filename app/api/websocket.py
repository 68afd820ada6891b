"""`GET /ws`, the WebSocket route: answer the handshake, authenticate, hand over.

The route returns when the client is authenticated. From then on the gateway has the
socket, and nothing of the request is kept.

The client is authenticated after the handshake, so that a refusal can have a close
code. If a handshake itself is refused, the browser does not tell the page why.
"""

from __future__ import annotations

import logging
import time

import flask_sock
from flask import Flask, request
from sqlalchemy.exc import SQLAlchemyError

from app import origins
from app.api.options import DETAIL, wants_detail
from app.api.schema.operation import (
    BAD_HANDSHAKE,
    GATEWAY_FULL,
    TOO_MANY,
    UPGRADE_REQUIRED,
    Parameter,
    Response,
    for_anyone,
)
from app.auth import ForeignOrigin, TokensUnreadable, socket_identity
from app.errors import ApiError
from app.limits import OverLimit
from app.server.answer_socket import TakenSocket
from app.server.capacity import Capacity
from app.services import Services, services
from app.websocket.connection import Connection
from app.websocket.handshake import Handshake
from models.events import CloseCode
from models.presence import PresenceUnavailable
from models.telemetry import causes, traces

log = logging.getLogger(__name__)

PATH = "/ws"
TICKET = Parameter(
    "ticket",
    "A ticket of `POST /api/ws-ticket` or of the host. A token may come in the"
    " `Authorization` header or in the cookie instead.",
    {"type": "string"},
)
FULL = "this gateway is full"


def register(app: Flask) -> None:
    """Serve WebSockets at /ws."""
    # flask-sock has no option for the class that answers the handshake.
    flask_sock.Server = Handshake
    sock = flask_sock.Sock(app)
    with app.app_context():
        capacity = Capacity.of(services().settings)

    @sock.route(PATH)  # type: ignore[untyped-decorator]
    @for_anyone(
        "Presence",
        parameters=[TICKET, DETAIL],
        responses={101: Response("The WebSocket is open.")},
        codes=[BAD_HANDSHAKE, UPGRADE_REQUIRED, TOO_MANY, GATEWAY_FULL],
    )
    def open_web_socket(handshake: Handshake) -> None:
        """Open the WebSocket of a user.

        docs/asyncapi.yaml describes its frames. If the credentials are missing or
        wrong, the handshake still succeeds, and the server closes the socket at once
        with 4401 or 4403.
        """
        began = time.time_ns()
        current = services()
        counts = current.gateway.counts
        if counts.sockets >= capacity.sockets_with_refused:
            raise ApiError(503, "gateway_full", FULL)
        current.limits.handshake_from(
            request.remote_addr or "", request.headers.get("X-Forwarded-For", "")
        )
        counts.sockets += 1
        try:
            taken = handshake.accept(causes.current_request())
        except BaseException:
            counts.sockets -= 1
            raise
        counts.handshakes += 1
        # Check this before the ticket is read: a ticket works once, and the client may
        # need it for another gateway.
        if counts.sockets > capacity.sockets:
            _refuse(current, taken, CloseCode.TRY_AGAIN_LATER, FULL)
        else:
            _serve(current, taken, began)


def _serve(current: Services, taken: TakenSocket, began: int) -> None:
    try:
        identity = socket_identity(current)
        current.limits.handshake_of_user(identity.user_id)
    except OverLimit as error:
        code, reason = CloseCode.TOO_MANY, str(error)
    except ForeignOrigin as error:
        origins.refused.note(request.headers["Origin"])
        code, reason = CloseCode.FORBIDDEN, error.message
    except TokensUnreadable as error:
        code, reason = CloseCode.TRY_AGAIN_LATER, error.code
    except ApiError as error:
        code, reason = CloseCode.NOT_AUTHENTICATED, error.message
    except SQLAlchemyError:
        code, reason = CloseCode.TRY_AGAIN_LATER, "database_unavailable"
    except PresenceUnavailable:
        code, reason = CloseCode.TRY_AGAIN_LATER, "presence_unavailable"
    except Exception:
        log.exception("a WebSocket could not be opened")
        code, reason = CloseCode.INTERNAL_ERROR, "internal error"
    else:
        gateway = current.gateway
        gateway.serve(
            gateway.new_connection(
                taken,
                identity,
                wants_detail=wants_detail(),
                cause=_cause(began, identity.user_id),
            )
        )
        return
    _cause(began, refused=str(int(code)))
    _refuse(current, taken, code, reason)


def _cause(began: int, user_id: str = "", refused: str = "") -> str:
    """The cause of the changes that follow: this request, and the span of its
    handshake, which ends now. `refused` is the close code if it was refused."""
    attributes = (
        {"greendot.close_code": refused} if refused else {"enduser.id": user_id}
    )
    traceparent = traces.root_span(
        "handshake", began, request.headers.get("traceparent", ""), attributes
    )
    return causes.with_traceparent(causes.current_request(), traceparent)


def _refuse(
    current: Services, taken: TakenSocket, code: CloseCode, reason: str
) -> None:
    cause = causes.current_request()
    connection = Connection(taken, current.settings, current.gateway.counts, cause)
    connection.close(code, reason)
    connection.start()
