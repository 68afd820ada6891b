"""Gives each HTTP request an id, which its log lines and its answer have."""

from __future__ import annotations

from flask import Flask, Response, request

from models.telemetry import causes


def register(app: Flask) -> None:
    """Begin each request of `app` with the caller's `X-Request-ID` or with a new id,
    and answer with the id in the same header."""

    @app.before_request
    def _begin() -> None:
        causes.begin_request(request.headers.get(causes.HEADER))

    @app.after_request
    def _answer(response: Response) -> Response:
        response.headers[causes.HEADER] = causes.current_request()
        return response
