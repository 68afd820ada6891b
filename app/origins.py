"""Logs which origins are refused.

If an origin is refused, the browser shows only a CORS error and no reason. So the log
names the origin, and the setting that allows it.
"""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, request

from app.auth import is_own_origin

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two log lines about the same origin."""
MAX_LOGGED = 20
"""The most origins that are logged within that time. A client may send any text as its
origin, and must not fill the log."""
MAX_CHARACTERS = 200
OF_THE_SAME_SITE = {"same-origin", "none"}
"""Values of `Sec-Fetch-Site` in requests that need no CORS. They are right even if a
proxy has changed the `Host` header."""


class RefusedOrigins:
    """Logs once a minute that an origin was refused."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    def note(self, origin: str, now: float | None = None) -> None:
        """`origin` was refused, at the monotonic time `now` (default: the current
        time)."""
        now = time.monotonic() if now is None else now
        origin = origin[:MAX_CHARACTERS]
        recent = {o: at for o, at in self._logged_at.items() if now - at < EVERY}
        self._logged_at = recent
        if origin in recent or len(recent) >= MAX_LOGGED:
            return
        recent[origin] = now
        log.warning(
            "refused a page of the origin %r: it is not in PRESENCE_ALLOWED_ORIGINS"
            " (logged once a minute)",
            origin,
        )


refused = RefusedOrigins()
"""The refused origins of this process."""


def register(app: Flask, allowed: tuple[str, ...]) -> None:
    """Log REST calls whose answers the browser hides from the calling page."""

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
