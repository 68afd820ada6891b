"""Headers that make browsers and proxies careful with answers."""

from __future__ import annotations

from flask import Flask, Response, current_app, render_template, request

# These pages have no inline scripts or styles, and load nothing from other sites.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "worker-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def page(template: str, **values: object) -> Response:
    """An HTML page that a browser must not keep."""
    response = current_app.make_response(render_template(template, **values))
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    # A page shows who is signed in, so the back button must not show an old page.
    response.headers["Cache-Control"] = "no-store"
    return response


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
