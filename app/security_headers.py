"""Headers that make browsers and proxies careful with answers."""

from __future__ import annotations

from flask import Flask, Response, request


def register(app: Flask) -> None:
    """Add the headers to all answers of `app`. A route may set other values."""

    @app.after_request
    def _add(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        if request.path.startswith("/api/"):
            headers.setdefault("Cache-Control", "no-store")
        return response
