"""Whether the process is up, and whether what it needs answers."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.services import services
from models.presence import PresenceUnavailable

log = logging.getLogger(__name__)

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 where the database and Redis answer, else 503; the body says which."""
    checks = {"database": _database_answers(), "redis": _redis_answers()}
    ready = all(checks.values())
    response = jsonify({"status": "ok" if ready else "unavailable", "checks": checks})
    response.status_code = 200 if ready else 503
    return response


def _database_answers() -> bool:
    try:
        with services().database.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        log.warning("not ready, the database does not answer: %s", error)
        return False
    return True


def _redis_answers() -> bool:
    try:
        services().presence.ping()
    except PresenceUnavailable as error:
        log.warning("not ready: %s", error)
        return False
    return True
