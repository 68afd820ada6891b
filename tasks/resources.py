"""The presence state and the database of a worker process, for its whole life.

They are made on first use, after the fork, because processes must not share
connections.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.presence import Presence, PresenceUnavailable
from models.sql.db import error_text, is_unavailable, make_engine
from tasks.celery_app import current_settings


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
        log.warning(message, error_text(error))
