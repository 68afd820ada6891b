"""Whether the process is up, and whether what it needs answers.

Who asks wants to know soon: a database or a Redis that stands still is not waited for
as long as a client of it would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from flask import Blueprint, Response, jsonify
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.services import services
from models.db import what_it_says
from models.presence import Presence, PresenceUnavailable
from models.user import user_table

log = logging.getLogger(__name__)

blueprint = Blueprint("health", __name__)

PATIENCE = 2.0
"""Seconds for each to answer in. Probes tend to give up after 5."""


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 where the database, with its tables, and Redis answer, else 503; the body
    says which."""
    current = services()
    asked = {
        "database": gevent.spawn(_why_not, _ask_database, current.database),
        "redis": gevent.spawn(_why_not, _ask_redis, current.presence),
    }
    gevent.joinall(list(asked.values()), timeout=PATIENCE)
    checks = {}
    for name, greenlet in asked.items():
        # One that is not done ends by the client's own timeouts; nobody waits for it.
        reason: object = f"no answer in {PATIENCE} s"
        if greenlet.ready():
            reason = greenlet.value if greenlet.successful() else greenlet.exception
        checks[name] = reason is None
        if reason is not None:
            log.warning("not ready, %s: %s", name, reason)
    ready = all(checks.values())
    response = jsonify({"status": "ok" if ready else "unavailable", "checks": checks})
    response.status_code = 200 if ready else 503
    return response


def _why_not(ask: Callable[[Any], None], whom: Engine | Presence) -> str | None:
    """None where `ask` gets its answer, else what is wrong."""
    try:
        ask(whom)
    except DBAPIError as error:
        return what_it_says(error)
    except (SQLAlchemyError, PresenceUnavailable) as error:
        return str(error)
    return None


def _ask_database(database: Engine) -> None:
    with database.connect() as connection:
        connection.execute(select(user_table.c.id).limit(1))


def _ask_redis(presence: Presence) -> None:
    presence.ping()
