"""Access to the operators' page: the service key, or the name that a trusted proxy
gives.

The sign-in exchanges the service key for a signed cookie, so the key itself is in no
page and no cookie. A form that changes something has a token that only our pages know.
Another key ends all sessions.
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from flask import request
from itsdangerous import BadSignature
from werkzeug import Response

from app.auth import is_own_origin
from app.errors import ApiError
from app.operator_sessions import COOKIE, PATH, SESSION_SECONDS, new_session, signer
from app.services import services
from config import Settings

MAX_NAME = 100


class Operator(NamedTuple):
    """An operator who is signed in."""

    identity: str
    """What a form's token is for: the session, or the name that the proxy gives."""
    name: str | None
    """As the proxy says. None after a sign-in with the key."""


def operator() -> Operator | None:
    """The operator who makes this request, or None."""
    settings = services().settings
    if (name := _named_by_proxy(settings)) is not None:
        return Operator(f"header:{name}", name)
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    try:
        sessions = signer(_service_key(), "session")
        session = sessions.loads(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    return Operator(f"session:{session}", None)


def is_service_key(given: str) -> bool:
    """Whether `given` is the service key."""
    return hmac.compare_digest(given.encode(), _service_key().encode())


def open_session(response: Response) -> None:
    """Set the cookie of a new session."""
    response.set_cookie(
        COOKIE,
        new_session(_service_key()),
        max_age=SESSION_SECONDS,
        path=PATH,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )


def end_session(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(
        COOKIE, path=PATH, httponly=True, samesite="Strict", secure=request.is_secure
    )


def form_token(who: Operator) -> str:
    """What a form of this operator must send back."""
    return signer(_service_key(), "form").dumps(who.identity)


def check_form(who: Operator) -> None:
    """Check that the form in this request comes from a page of this operator.

    Raises:
        ApiError: 403, it does not, or the page is too old.
    """
    check_origin()
    token = request.form.get("token", "")
    try:
        identity = signer(_service_key(), "form").loads(token, max_age=SESSION_SECONDS)
    except BadSignature:
        identity = None
    if identity != who.identity:
        message = "the form is too old, or is not from this page; load the page again"
        raise ApiError(403, "bad_form", message)


def check_origin() -> None:
    """Check that no page of another site has sent this form.

    Raises:
        ApiError: 403, one has.
    """
    if not is_own_origin(request.headers.get("Origin"), request.host, ()):
        raise ApiError(403, "foreign_origin", "a page of another site sent this form")


def _named_by_proxy(settings: Settings) -> str | None:
    """The operator's name in the header of a trusted proxy. From any other address the
    header means nothing."""
    if settings.admin_header is None:
        return None
    name = request.headers.get(settings.admin_header, "").strip()[:MAX_NAME]
    try:
        peer = ip_address(request.remote_addr or "")
    except ValueError:  # a Unix socket
        return None
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return name if name and any(peer in one for one in settings.admin_proxies) else None


def _service_key() -> str:
    key = services().settings.service_key
    assert key is not None  # noqa: S101 - without it the page is not there
    return key
