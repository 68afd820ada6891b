"""Options in the query string of a request."""

from __future__ import annotations

from flask import request

from app.api.admin_input import bad_request

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100


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
