"""Whether the process is up, and whether what it needs takes writes.

A probe wants to know soon: a database or a Redis that stands still is not waited for as
long as a client of it would.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from flask import Blueprint, Flask, Response, current_app, jsonify

from app.outages import Outage
from app.services import services
from models.sql.db import check_writes, what_it_says

blueprint = Blueprint("health", __name__)

EXTENSION = "greendot-readiness"
PATIENCE = 2.0
"""Seconds for each to answer in. Probes tend to give up after 5."""
GOOD_FOR = 1.0
"""Seconds for which an answer counts: all probes of that time share it."""


class Check:
    """Asks one of the things that the process needs, at most once at a time."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._asked_at = 0.0
        self._greenlet: gevent.Greenlet[[], str | None] | None = None
        self._outage = Outage(f"not ready, {name}", alone=True)

    def begin(self) -> None:
        """Ask, unless it was asked just now, or has not answered yet."""
        is_old = time.monotonic() - self._asked_at >= GOOD_FOR
        if self._greenlet is None or (is_old and self._greenlet.ready()):
            self._asked_at = time.monotonic()
            self._greenlet = gevent.spawn(self._reason)

    def reason(self) -> str | None:
        """Why it is not ready; None where it is. Waits until PATIENCE is over since it
        was asked. One that takes longer ends by the client's own timeouts."""
        assert self._greenlet is not None  # noqa: S101 - `begin` comes first
        self._greenlet.join(max(0.0, self._asked_at + PATIENCE - time.monotonic()))
        reason: str | None = f"no answer in {PATIENCE:g} s"
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            return what_it_says(error) or type(error).__name__
        return None


def register(app: Flask) -> None:
    """Serve /healthz and /readyz."""
    with app.app_context():
        sessions, presence = services().sessions, services().presence
    app.extensions[EXTENSION] = {
        "database": Check("database", lambda: check_writes(sessions)),
        "redis": Check("redis", presence.check_writes),
    }
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 where the database, with its tables, and Redis take writes, else 503; the
    body says which do not, and why."""
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
