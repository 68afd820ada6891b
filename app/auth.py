"""Authentication: tokens, the cookie, tickets, origins and the service key.

`app.tokens` verifies tokens. REST takes a token from the `Authorization` header or the
cookie. `/ws` also takes a ticket. A ticket that a client got for its token gives the
socket the token's end. A ticket of the host stands for a user without a token, so it
gives the socket no end.
"""

from __future__ import annotations

import hmac
import time
from urllib.parse import urlsplit

from flask import request

from app.errors import ApiError, Unauthenticated
from app.services import Services, services
from app.tokens import EXPIRED, BadToken, Identity, KeysUnavailable
from models.presence.tickets import Ticket

COOKIE = "presence_token"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ForeignOrigin(ApiError):
    """A page sent the cookie, but its origin may not use it."""

    def __init__(self) -> None:
        message = "this origin may not use the cookie; see PRESENCE_ALLOWED_ORIGINS"
        super().__init__(403, "foreign_origin", message)


class TokensUnreadable(ApiError):
    """No token can be verified now."""

    def __init__(self, message: str) -> None:
        super().__init__(503, "tokens_unavailable", message)


def read_token(current: Services, token: str) -> Identity:
    """The identity in `token`.

    Raises:
        Unauthenticated: it is not valid, or was revoked. The message says why.
        TokensUnreadable: the keys cannot be fetched now.
        sqlalchemy.exc.SQLAlchemyError: the revocations cannot be read.
    """
    try:
        return current.tokens.read(token)
    except BadToken as error:
        raise Unauthenticated(str(error)) from None
    except KeysUnavailable as error:
        raise TokensUnreadable(str(error)) from None


def require_user() -> str:
    """The id of the user who makes this REST call.

    Raises:
        Unauthenticated: there is no token, or it is not valid.
    """
    return require_identity().user_id


def require_identity() -> Identity:
    """The identity that makes this REST call.

    Raises:
        Unauthenticated: there is no token, or it is not valid.
        OverLimit: the user has made too many calls.
    """
    current = services()
    identity = read_token(current, require_token())
    current.limits.rest(identity.user_id)
    return identity


def require_token() -> str:
    """The token of this REST call, not verified.

    Raises:
        Unauthenticated: there is none.
    """
    token = _bearer() or request.cookies.get(COOKIE)
    if not token:
        # The log hides the word after "Bearer ", so no word follows it here.
        where = f"the header Authorization (Bearer) or the cookie {COOKIE}"
        message = f"send a token in {where}"
        raise Unauthenticated(message)
    return token


def require_service_key() -> None:
    """Check that the host application makes this call.

    Raises:
        ApiError: 403, the admin routes are closed.
        Unauthenticated: the key is missing or wrong.
    """
    key = services().settings.service_key
    if key is None:
        message = "the admin routes are closed: PRESENCE_SERVICE_KEY is not set"
        raise ApiError(403, "admin_closed", message)
    given = _bearer()
    if given is None:
        message = "send PRESENCE_SERVICE_KEY as Authorization: Bearer"
        raise Unauthenticated(message)
    if not hmac.compare_digest(given.encode(), key.encode()):
        message = "that is not the PRESENCE_SERVICE_KEY"
        raise Unauthenticated(message)


def socket_identity(current: Services) -> Identity:
    """The identity that opens this WebSocket: by ticket, by header or by cookie.

    A page of another site cannot send the header or a ticket, because it knows no
    token. But a browser sends the cookie for every page. So if the client uses the
    cookie, the origin must be ours or an allowed one.

    Raises:
        Unauthenticated: the client sent none of the three, or an invalid one.
        ForeignOrigin: the cookie came from a page that may not use it.
        PresenceUnavailable: the ticket cannot be read now.
        TokensUnreadable, sqlalchemy.exc.SQLAlchemyError: as for `read_token`.
    """
    # Most clients send no query string. Parsing an empty one would cost time.
    ticket = request.args.get("ticket") if request.query_string else None
    if ticket is not None:
        found = current.presence.tickets.take(ticket)
        if found is None:
            message = "the ticket is unknown, spent or too old"
            raise Unauthenticated(message)
        if isinstance(found, Ticket):
            return _ticket_identity(current, found)
        return read_token(current, found)
    bearer = _bearer()
    if bearer is not None:
        return read_token(current, bearer)
    identity = read_token(current, require_token())
    origin = request.headers.get("Origin")
    if not is_own_origin(origin, request.host, current.settings.allowed_origins):
        raise ForeignOrigin
    return identity


def _ticket_identity(current: Services, ticket: Ticket) -> Identity:
    """The identity that `ticket` stands for.

    Raises:
        Unauthenticated: its token has expired, or it was revoked.
    """
    identity = Identity(ticket.user_id, ticket.expires_at, ticket.issued_at)
    if ticket.expires_at is not None and ticket.expires_at <= time.time():
        raise Unauthenticated(EXPIRED)
    try:
        current.tokens.check_revocation(identity)
    except BadToken as error:
        raise Unauthenticated(str(error)) from None
    return identity


def require_user_for_change() -> str:
    """Like `require_user`, for a call that changes something. If the caller uses the
    cookie, the origin must be ours or an allowed one.

    Raises:
        ForeignOrigin: the caller uses the cookie, and sent no origin or a foreign one.
        Unauthenticated: there is no token, or it is not valid.
    """
    user_id = require_user()
    origin = request.headers.get("Origin")
    allowed = services().settings.allowed_origins
    if _bearer() is None and not (
        origin is not None and is_own_origin(origin, request.host, allowed)
    ):
        raise ForeignOrigin
    return user_id


def is_own_origin(origin: str | None, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a page of `origin` may use the cookie: the origin is our own `host` or
    one of `allowed`. Browsers always send an origin. So without one the caller is not a
    page, and may use the cookie."""
    if origin is None:
        return True
    if origin.lower() in allowed:
        return True
    try:
        parts = urlsplit(origin.lower())
        own = urlsplit(f"{parts.scheme}://{host.lower()}")
        if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
            return False
        return (parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]) == (
            own.hostname,
            own.port or _DEFAULT_PORTS[parts.scheme],
        )
    except ValueError:  # not a URL, or the port is not a number
        return False


def _bearer() -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None
