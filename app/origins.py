"""Tells the operator which origins are refused.

A page of a foreign origin learns nothing of the reason: its browser shows a CORS error.
So the log names the origin, and the setting that allows it.
"""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, request

from app.auth import is_own_origin

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two lines about one origin."""
MOST = 20
"""Origins that are named within that time: a client may send any text as its origin."""
MOST_CHARACTERS = 200
OF_THE_SAME_SITE = {"same-origin", "none"}
"""What `Sec-Fetch-Site` says of requests that need no CORS, however a proxy has changed
the host."""


class RefusedOrigins:
    """Says once a minute that an origin was refused."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def note(self, origin: str, now: float | None = None) -> None:
        """`origin` was refused (now, or at that monotonic time)."""
        now = time.monotonic() if now is None else now
        origin = origin[:MOST_CHARACTERS]
        self._said = {name: at for name, at in self._said.items() if now - at < EVERY}
        if origin in self._said or len(self._said) >= MOST:
            return
        self._said[origin] = now
        log.warning(
            "refused a page of the origin %r: PRESENCE_ALLOWED_ORIGINS does not name it"
            " (said once a minute)",
            origin,
        )


refused = RefusedOrigins()
"""Of this process."""


def register(app: Flask, allowed: tuple[str, ...]) -> None:
    """Note REST calls whose answer the browser hides from the page that made them."""

    @app.after_request
    def _note(response: Response) -> Response:
        origin = request.environ.get("HTTP_ORIGIN")
        if (
            origin is not None
            and request.path.startswith("/api/")
            and request.environ.get("HTTP_SEC_FETCH_SITE") not in OF_THE_SAME_SITE
            and not is_own_origin(origin, request.environ.get("HTTP_HOST", ""), allowed)
        ):
            refused.note(origin)
        return response
