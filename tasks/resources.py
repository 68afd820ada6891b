"""What a worker process holds for its life: the presence state and the database.

Made on first use, which is after the fork: connections must not be shared by processes.
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
