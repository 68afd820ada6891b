"""Describes a route beside its function: what it takes, gives and refuses.

    @blueprint.put("/users/<user_id>")
    @for_host("Users", takes=UserName, gives=User, creates=True, codes=[DATABASE])
    def put_user(user_id: str) -> Answer: ...

The function's docstring is the summary and the description. `app.api.schema.document`
makes the OpenAPI document of all this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from flask import current_app, request

from app.api.schema.checks import Body

View = TypeVar("View", bound=Callable[..., Any])
Caller = Literal["user", "host", "anyone"]

_OPERATION = "operation"

NOT_FOUND = "not_found"
UNKNOWN_USER = "unknown_user"
SESSIONS_OFF = "sessions_off"
FORBIDDEN = "forbidden"
FOREIGN_ORIGIN = "foreign_origin"
NOT_ALLOWED = "not_allowed"
BAD_REQUEST = "bad_request"
INVALID_ID = "invalid_id"
TOO_LARGE = "request_entity_too_large"
URI_TOO_LONG = "request_uri_too_long"
HEADERS_TOO_LARGE = "request_header_fields_too_large"
OLDER_VERSION = "older_version_running"
PRESENCE = "presence_unavailable"
DATABASE = "database_unavailable"
BAD_HANDSHAKE = "bad_handshake"
UPGRADE_REQUIRED = "upgrade_required"
GATEWAY_FULL = "gateway_full"
TOO_MANY = "too_many_requests"


class Code(NamedTuple):
    """A code of an error: the status of the answer, and when it comes. `message` is an
    example."""

    status: int
    when: str
    message: str


CODES = {
    BAD_REQUEST: Code(
        400,
        "The body or an option is wrong. The message names the field.",
        "display_name: takes text of 1 to 200 characters, without line breaks",
    ),
    INVALID_ID: Code(
        400,
        "An id is wrong. The message names the field.",
        "id: 'a b' is not an id: it takes 1 to 128 of A-Z a-z 0-9 _ . : @ | + -",
    ),
    BAD_HANDSHAKE: Code(
        400,
        "The request is not a complete WebSocket handshake.",
        "Sec-WebSocket-Key has to be 16 bytes in base64",
    ),
    "not_authenticated": Code(
        401,
        "The token or the service key is missing or wrong, or the token was revoked.",
        "the token has expired",
    ),
    FORBIDDEN: Code(
        403,
        "The user is not relevant to the caller, or the caller is not in the"
        " conversation.",
        "you are not in this conversation",
    ),
    FOREIGN_ORIGIN: Code(
        403,
        "The call changes something, and has the cookie from a page without an allowed"
        " `Origin`.",
        "this origin may not use the cookie; see PRESENCE_ALLOWED_ORIGINS",
    ),
    NOT_ALLOWED: Code(
        403,
        "Users of this server may not hide (`PRESENCE_ALLOW_INVISIBLE`).",
        "users of this server may not hide from others",
    ),
    "admin_closed": Code(
        403,
        "`PRESENCE_SERVICE_KEY` is not set.",
        "the admin routes are closed: PRESENCE_SERVICE_KEY is not set",
    ),
    NOT_FOUND: Code(404, "What the call names does not exist.", "there is no user ann"),
    UNKNOWN_USER: Code(
        409, "The call names users that do not exist.", "unknown user: ann"
    ),
    SESSIONS_OFF: Code(
        409,
        "`PRESENCE_SESSION_DAYS` is not set.",
        "no sessions are kept: set PRESENCE_SESSION_DAYS to the number of days for"
        " which they are to be kept",
    ),
    TOO_LARGE: Code(
        413,
        "The body is larger than the limit.",
        "The data value transmitted exceeds the capacity limit.",
    ),
    URI_TOO_LONG: Code(
        414,
        "The first line of the request is longer than 4,094 bytes.",
        "Request Line is too large (5000 > 4094)",
    ),
    UPGRADE_REQUIRED: Code(
        426,
        "`Sec-WebSocket-Version` is not 13.",
        "Sec-WebSocket-Version has to be 13",
    ),
    TOO_MANY: Code(
        429,
        "The caller is over a limit. `Retry-After` says in how many seconds to try"
        " again.",
        "too many calls; try again in 7 s",
    ),
    HEADERS_TOO_LARGE: Code(
        431,
        "The request has more than 100 headers, or one of more than 8,190 bytes.",
        "limit request headers fields size",
    ),
    GATEWAY_FULL: Code(
        503,
        "This gateway has no room for another WebSocket handshake.",
        "this gateway is full",
    ),
    OLDER_VERSION: Code(
        503,
        "The change hides something, and a server of an older version is still"
        " running.",
        "a server of an older version is still running; try again soon",
    ),
    "tokens_unavailable": Code(
        503,
        "The keys at `PRESENCE_JWKS_URL` cannot be read, and the token may be signed"
        " with a new one.",
        "the keys at PRESENCE_JWKS_URL cannot be read now",
    ),
    PRESENCE: Code(
        503,
        "Redis is down.",
        "the presence state cannot be reached; try again soon",
    ),
    DATABASE: Code(
        503,
        "The database is down.",
        "the database cannot be reached or used now; try again soon",
    ),
}
"""All codes that routes are documented with."""

OF_CALLER: dict[Caller, tuple[str, ...]] = {
    "anyone": (),
    "host": ("not_authenticated", "admin_closed"),
    # To check a token, a process must have read the revocations once.
    "user": ("not_authenticated", TOO_MANY, "tokens_unavailable", DATABASE),
}
"""Codes of the answers before a route begins."""


class Parameter(NamedTuple):
    """An option in the query string, or a header."""

    name: str
    description: str
    schema: dict[str, Any]
    place: Literal["query", "header"] = "query"
    example: object = None


IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "The `ETag` of an earlier answer. If nothing has changed, the answer is 304.",
    {"type": "string"},
    place="header",
)


class Response(NamedTuple):
    """An answer that has no `data`. Its body is JSON as `model` says, or is of another
    `content_type`, or there is none."""

    description: str
    model: type[msgspec.Struct] | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """What is said about one route. It is a decorator of the route's function."""

    caller: Caller
    """Which credentials the route needs."""
    tag: str
    """The group in the document."""
    takes: type[Body] | None = None
    """The model of the body. The route reads it with `admin_input.body`."""
    body_is_optional: bool = False
    gives: type[msgspec.Struct] | None = None
    """The model of `data` in the answer. Without it the answer is 204."""
    creates: bool = False
    """Whether the answer is 201 if something is new."""
    has_etag: bool = False
    """Whether the answer has an `ETag`, and may be 304."""
    codes: Sequence[str] = ()
    """Codes of the errors that come from the route itself."""
    parameters: Sequence[Parameter] = ()
    """Options in the query string, and headers."""
    responses: Mapping[int, Response] = field(default_factory=dict)
    """Answers that have no `data`, by status. They replace the usual ones."""

    def __call__(self, view: View) -> View:
        """`view`, marked with this description."""
        vars(view)[_OPERATION] = self
        return view

    @property
    def all_codes(self) -> set[str]:
        """Codes of all errors, also of those before the route begins."""
        of_head = (URI_TOO_LONG, HEADERS_TOO_LARGE)
        of_body = (BAD_REQUEST, TOO_LARGE) if self.takes else ()
        return {*of_head, *OF_CALLER[self.caller], *of_body, *self.codes}


for_host = partial(Operation, "host")
for_user = partial(Operation, "user")
for_anyone = partial(Operation, "anyone")


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """The description of a route; None if it has none."""
    found: Operation | None = vars(view).get(_OPERATION)
    return found


def check_described(model: type[Body]) -> None:
    """Check that the current route is described with the body that it reads.

    Raises:
        TypeError: it is not. The document would be wrong.
    """
    view = current_app.view_functions[request.endpoint or ""]
    operation = operation_of(view)
    if operation is None or operation.takes is not model:
        message = f"{request.endpoint} is not described with {model.__name__}"
        raise TypeError(message)
