"""The presence state and the database of a worker process, for its whole life.

They are made on first use, after the fork, because processes must not share
connections.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import Engine

from models.presence import Presence
from models.sql.db import make_engine
from tasks.celery_app import current_settings


@cache
def presence() -> Presence:
    """The presence state of this process."""
    return Presence.open(current_settings())


@cache
def database() -> Engine:
    """The database of this process."""
    return make_engine(current_settings().database_url)
