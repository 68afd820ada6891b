"""Options in the query string of a request."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeVar

from flask import request

from app.api.schema.operation import Parameter
from app.api.values import bad_request
from models.events import MAX_TIMESTAMP

Cursor = TypeVar("Cursor")

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100
_MAX_DIGITS = len(str(MAX_TIMESTAMP))

DETAIL = Parameter(
    "detail",
    "With 1 the answer also has details. With any other value it has none.",
    {"type": "string"},
    example="1",
)
LIMIT = Parameter(
    "limit",
    "How many items a page has.",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LIMIT,
        "default": DEFAULT_LIMIT,
    },
    example=DEFAULT_LIMIT,
)
CURSOR = Parameter(
    "cursor",
    "The `next_cursor` of the page before. Without it the answer is the first page.",
    {"type": "string", "format": "cursor"},
)
PAGE = (LIMIT, CURSOR)
SINCE = Parameter(
    "since",
    "Only what was not over at this time, in milliseconds since the epoch (1970).",
    {
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "maximum": MAX_TIMESTAMP - 1,
    },
    example=1_767_225_600_000,
)


def wants_detail() -> bool:
    """Whether the client has asked for details: `?detail=1`."""
    return bool(request.query_string) and request.args.get("detail") == "1"


def limit() -> int:
    """How many items the caller wants on a page: `?limit=`.

    Raises:
        ApiError: 400, it is not a number from 1 to MAX_LIMIT.
    """
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise bad_request(field="limit", takes=f"takes a number from 1 to {MAX_LIMIT}")
    return int(text)


def since() -> int:
    """Since when the caller wants to know (ms): `?since=`. 0 if it is missing.

    Raises:
        ApiError: 400, it is not a time.
    """
    text = request.args.get("since", "0")
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    if not is_number or int(text) >= MAX_TIMESTAMP:
        takes = "takes a time in milliseconds since the epoch, such as 1700000000000"
        raise bad_request(field="since", takes=takes)
    return int(text)


def cursor_text(data: bytes) -> str:
    """A cursor as the host gets it: text without a meaning for the host, and safe in a
    URL."""
    return base64.urlsafe_b64encode(data).decode()


def cursor(read: Callable[[bytes], Cursor]) -> Cursor | None:
    """Where the caller's page begins: `?cursor=`. None if it is the first page. `read`
    makes the cursor of the data that `cursor_text` was given.

    Raises:
        ApiError: 400, it is not the cursor of a page.
    """
    text = request.args.get("cursor")
    if text is None:
        return None
    try:
        return read(base64.urlsafe_b64decode(text))
    except (AttributeError, TypeError, ValueError):
        takes = "takes the next_cursor of another page"
        raise bad_request(field="cursor", takes=takes) from None
