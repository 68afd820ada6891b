"""The presence state and the database of a worker process, for its whole life, and what
a task does if one of them is down.

They are made on first use, after the fork, because processes must not share
connections.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from celery import current_task
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.presence import Presence, PresenceUnavailable
from models.sql.db import error_text, is_unavailable, make_engine
from tasks.celery_app import current_settings

without_database: set[str] = set()
"""The ids of running tasks that could not use the database. `tasks.metrics` counts them
when they end."""


@cache
def presence() -> Presence:
    """The presence state of this process."""
    return Presence.open(current_settings())


@cache
def database() -> Engine:
    """The database of this process."""
    return make_engine(current_settings().database_url)


@contextmanager
def outages_logged(log: logging.Logger, message: str) -> Iterator[None]:
    """If Redis or the database is down, log `message` with the reason, and leave the
    block. Every other error is passed on."""
    try:
        yield
    except PresenceUnavailable as error:
        log.warning(message, error)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        note_without_database()
        log.warning(message, error_text(error))


def note_without_database() -> None:
    """Note for /metrics that the current task could not use the database."""
    if current_task:
        without_database.add(current_task.request.id)
