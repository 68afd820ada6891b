"""Answers whether the process is up, and whether its database and Redis accept writes.

A probe needs its answer soon. So `/readyz` does not wait for the time-outs of the
database client and the Redis client. It stops waiting earlier.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from flask import Blueprint, Flask, Response, current_app, jsonify

from app.api.schema import answers
from app.api.schema.operation import Response as Described
from app.api.schema.operation import for_anyone
from app.outages import Outage
from app.services import services
from models.sql.db import check_writes, error_text

blueprint = Blueprint("health", __name__)

EXTENSION = "greendot-readiness"
MAX_WAIT = 2.0
"""Seconds that the database and Redis each have to answer. Probes usually give up after
5 s."""
GOOD_FOR = 1.0
"""Seconds for which a result is kept. All probes within that time share it."""


class Check:
    """A check of the database or of Redis. Two probes never run it at the same time.
    If it fails, the log says `failed` and the reason, once a minute."""

    def __init__(self, failed: str, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._asked_at = 0.0
        self._greenlet: gevent.Greenlet[[], str | None] | None = None
        self._outage = Outage(failed, alone=True)

    def begin(self) -> None:
        """Start the check, unless it is still running or its last result is fresh."""
        is_old = time.monotonic() - self._asked_at >= GOOD_FOR
        if self._greenlet is None or (is_old and self._greenlet.ready()):
            self._asked_at = time.monotonic()
            self._greenlet = gevent.spawn(self._reason)

    def reason(self) -> str | None:
        """Why the database or Redis is not ready; None if it is ready. Waits until
        MAX_WAIT seconds after the start of the check. A check that takes longer goes on
        in the background until the client's own time-out."""
        assert self._greenlet is not None  # noqa: S101 - `begin` comes first
        self._greenlet.join(max(0.0, self._asked_at + MAX_WAIT - time.monotonic()))
        reason: str | None = f"no answer in {MAX_WAIT:g} s"
        if self._greenlet.ready():
            reason = self._greenlet.value
        if reason is None:
            self._outage.succeeded()
        else:
            self._outage.failed(reason)
        return reason

    def _reason(self) -> str | None:
        try:
            self._ask()
        except Exception as error:  # noqa: BLE001 - after any error it is not ready
            return error_text(error) or type(error).__name__
        return None


def register(app: Flask) -> None:
    """Serve /healthz and /readyz."""
    with app.app_context():
        sessions, presence = services().sessions, services().presence
    app.extensions[EXTENSION] = {
        "database": Check("not ready, database", lambda: check_writes(sessions)),
        "redis": Check("not ready, redis", presence.check_writes),
    }
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
@for_anyone("Server", responses={200: Described("It is up.", answers.Health)})
def healthz() -> dict[str, str]:
    """Whether the process is up."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@for_anyone(
    "Server",
    responses={
        200: Described("The process can serve calls.", answers.Readiness),
        503: Described("`reasons` says what fails, and why.", answers.Readiness),
    },
)
def readyz() -> Response:
    """Whether the database has its tables, and whether it and Redis accept writes.

    Each of the two has 2 seconds to answer. Probes within one second share the result.
    """
    asked: dict[str, Check] = current_app.extensions[EXTENSION]
    for check in asked.values():
        check.begin()
    reasons = {name: check.reason() for name, check in asked.items()}
    answer: dict[str, object] = {
        "status": "unavailable" if any(reasons.values()) else "ok",
        "checks": {name: reason is None for name, reason in reasons.items()},
    }
    if any(reasons.values()):
        answer["reasons"] = {name: why for name, why in reasons.items() if why}
    response = jsonify(answer)
    response.status_code = 503 if any(reasons.values()) else 200
    return response
