"""Authentication: tokens, the cookie, tickets, origins and the service key.

A token is a JWT (HS256) whose `sub` is the user id. REST takes it from the
`Authorization` header or the cookie. `/ws` also takes a ticket. A ticket of the host
application stands for a user without a token, so it gives the socket no end.
"""

from __future__ import annotations

import hmac
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import jwt
from flask import request

from app.errors import ApiError, Unauthenticated
from app.services import Services, services
from config import Settings
from models.identifiers import InvalidIdentifier, check_user_id
from models.presence.tickets import HostTicket

ALGORITHM = "HS256"
COOKIE = "presence_token"
EXPIRED = "the token has expired"
TOKENS_REMEMBERED = 4096
"""One process remembers this many verified tokens (about 2 MB). A page sends the same
token several times while it loads, and verifying a token takes 50 us."""
LEEWAY = 60.0
"""Seconds by which `nbf` and `iat` may be in the future, because the host's clock may
be ahead of ours."""
_TIMES = ("exp", "nbf", "iat")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ForeignOrigin(ApiError):
    """A page sent the cookie, but its origin may not use it."""

    def __init__(self) -> None:
        message = "this origin may not use the cookie; see PRESENCE_ALLOWED_ORIGINS"
        super().__init__(403, "foreign_origin", message)


@dataclass(frozen=True, slots=True)
class Identity:
    """The calling user, and when the token expires: in seconds since the epoch, or None
    if it never expires."""

    user_id: str
    expires_at: float | None


def issue_token(settings: Settings, user_id: str, lifetime_seconds: float) -> str:
    """A token for `user_id` that is valid for `lifetime_seconds`."""
    now = int(time.time())
    claims = {"sub": user_id, "iat": now, "exp": now + int(lifetime_seconds)}
    return jwt.encode(claims, settings.jwt_secret, algorithm=ALGORITHM)


def read_token(settings: Settings, token: str) -> Identity:
    """The identity in `token`.

    Raises:
        Unauthenticated: the signature is wrong, the token is not valid now, or its
            `sub` is not a user id.
    """
    try:
        verified = _verified(token, settings.jwt_secret)
    except jwt.InvalidSignatureError:
        message = "the token is not valid: it is not signed with PRESENCE_JWT_SECRET"
        raise Unauthenticated(message) from None
    except (jwt.InvalidTokenError, InvalidIdentifier) as error:
        message = f"the token is not valid: {error}"
        raise Unauthenticated(message) from None
    except RecursionError:
        message = "the token is not valid: its JSON is nested too deeply"
        raise Unauthenticated(message) from None
    verified.check_times(time.time())
    return verified.identity


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature is right. Its times are not checked yet."""

    identity: Identity
    begins: tuple[tuple[str, float], ...]
    """Claims and their times. Before such a time the token is not valid."""

    def check_times(self, now: float) -> None:
        """Check that the token is valid `now` (seconds since the epoch).

        Raises:
            Unauthenticated: it is not valid yet, or has expired.
        """
        for name, begin in self.begins:
            if begin > now + LEEWAY:
                message = f"the token is not valid yet: its {name} is in the future"
                raise Unauthenticated(message)
        end = self.identity.expires_at
        if end is not None and end <= now:
            raise Unauthenticated(EXPIRED)


@lru_cache(maxsize=TOKENS_REMEMBERED)
def _verified(token: str, secret: str) -> _Verified:
    """The content of `token`. Results are cached, so nothing here may depend on the
    current time; `check_times` does that."""
    claims = jwt.decode(
        token,
        secret,
        algorithms=[ALGORITHM],
        options={
            "require": ["sub"],
            "verify_aud": False,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_sub": False,
        },
    )
    user_id = _user_id(claims["sub"])
    times = {name: _seconds(name, claims[name]) for name in _TIMES if name in claims}
    begins = tuple((name, times[name]) for name in ("nbf", "iat") if name in times)
    return _Verified(Identity(user_id, times.get("exp")), begins)


def _user_id(subject: object) -> str:
    """The user id in `sub`. Some hosts number their users, and many JWT libraries then
    write a number instead of a string."""
    return check_user_id(str(subject) if type(subject) is int else subject)


def _seconds(name: str, value: object) -> float:
    """A time in a token. The number in the JSON may be too large for a float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(seconds := float(value)):
                return seconds
    message = f"{name} is not a number of seconds"
    raise jwt.InvalidTokenError(message)


def require_user() -> str:
    """The id of the user who makes this REST call.

    Raises:
        Unauthenticated: there is no token, or it is not valid.
    """
    return read_token(services().settings, require_token()).user_id


def require_token() -> str:
    """The token of this REST call, not verified.

    Raises:
        Unauthenticated: there is none.
    """
    token = _bearer() or request.cookies.get(COOKIE)
    if not token:
        message = f"send a token as Authorization: Bearer or in the cookie {COOKIE}"
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
    """
    # Most clients send no query string. Parsing an empty one would cost time.
    ticket = request.args.get("ticket") if request.query_string else None
    if ticket is not None:
        found = current.presence.tickets.take(ticket)
        if found is None:
            message = "the ticket is unknown, spent or too old"
            raise Unauthenticated(message)
        if isinstance(found, HostTicket):
            return Identity(found.user_id, None)
        return read_token(current.settings, found)
    bearer = _bearer()
    if bearer is not None:
        return read_token(current.settings, bearer)
    identity = read_token(current.settings, require_token())
    origin = request.headers.get("Origin")
    if not is_own_origin(origin, request.host, current.settings.allowed_origins):
        raise ForeignOrigin
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
