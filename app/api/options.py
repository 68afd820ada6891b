"""Options in the query string of a request."""

from __future__ import annotations

from flask import request


def wants_detail() -> bool:
    """Whether the client has asked for details: `?detail=1`."""
    return bool(request.query_string) and request.args.get("detail") == "1"
