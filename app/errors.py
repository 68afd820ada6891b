"""The errors of the web process, and how they become JSON answers.

    GreendotError
    └── ApiError               a REST call that cannot be served: status, code, message
        └── Unauthenticated    no token, or an invalid one

Errors from lower layers are translated here. `PresenceUnavailable` and a database that
does not answer become 503. `OverLimit` becomes 429, an unknown route 404, and a bad
handshake 400.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify
from gunicorn.http.errors import ParseException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from werkzeug.exceptions import HTTPException

from app.limits import OverLimit
from app.outages import Outage
from app.websocket.handshake import VERSION, BadHandshake, WrongVersion
from models.presence import CommandRefused, PresenceUnavailable
from models.sql.db import NO_TABLES, error_text, is_unavailable, lacks_tables

log = logging.getLogger(__name__)

_outage = Outage("calls are answered with 503, the database cannot serve them")


class GreendotError(Exception):
    """The base of all errors that the web process raises itself."""


class ApiError(GreendotError):
    """A call that cannot be served. Programs read `code`, people read `message`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Unauthenticated(ApiError):
    """The caller is not authenticated."""

    def __init__(self, message: str) -> None:
        super().__init__(401, "not_authenticated", message)


def register(app: Flask) -> None:
    """Answer every error of `app` as `{"error": {"code", "message"}}`."""
    for kind, handler in (
        (ApiError, _api_error),
        (OverLimit, _over_limit),
        (PresenceUnavailable, _presence_unavailable),
        (CommandRefused, _command_refused),
        (SQLAlchemyError, _database_error),
        (BadHandshake, _bad_handshake),
        (WrongVersion, _wrong_version),
        (ParseException, _bad_body),
        (HTTPException, _http_error),
    ):
        app.register_error_handler(kind, handler)


def _api_error(error: ApiError) -> Response:
    response = _answer(error.status, error.code, error.message)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _over_limit(error: OverLimit) -> Response:
    response = _answer(429, "too_many_requests", str(error))
    response.headers["Retry-After"] = str(error.retry_after)
    return response


def _presence_unavailable(_error: PresenceUnavailable) -> Response:
    message = "the presence state cannot be reached; try again soon"
    return _answer(503, "presence_unavailable", message)


def _command_refused(error: CommandRefused) -> Response:
    log.error("a call is answered with 500: Redis has refused a command: %s", error)
    message = "Redis has refused a command; the server's log says which error it gave"
    return _answer(500, "command_refused", message)


def _database_error(error: SQLAlchemyError) -> Response:
    if isinstance(error, DBAPIError) and lacks_tables(error):
        message = NO_TABLES
    elif is_unavailable(error):
        message = "the database cannot be reached or used now; try again soon"
    else:
        raise error
    _outage.failed(error_text(error))
    return _answer(503, "database_unavailable", message)


def _bad_handshake(error: BadHandshake) -> Response:
    return _answer(400, "bad_handshake", str(error))


def _wrong_version(error: WrongVersion) -> Response:
    response = _answer(426, "upgrade_required", str(error))
    response.headers["Connection"] = "Upgrade"
    response.headers["Upgrade"] = "websocket"
    response.headers["Sec-WebSocket-Version"] = VERSION
    return response


def _bad_body(error: ParseException) -> Response:
    """The web server could not read the body: its chunked encoding is wrong."""
    return _answer(400, "bad_request", f"body: {error}")


def _http_error(error: HTTPException) -> Response:
    code = (error.name or "error").lower().replace(" ", "_")
    answer = _answer(error.code or 500, code, error.description or code)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            answer.headers[name] = value
    return answer


def _answer(status: int, code: str, message: str) -> Response:
    response = jsonify({"error": {"code": code, "message": message}})
    response.status_code = status
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "1"
    return response
