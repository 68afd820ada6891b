"""Tells very large audiences, in a task of its own.

The drainer of a shard tells one batch after the other. To read an audience of 100,000,
to find its gateways and to send it takes a second, and every other change of the shard
would wait. So the drainer leaves changes of such users to the task `tell_crowds`. It
knows the users from their last change in the same process. At a user's first change,
the drainer reads the audience, and then leaves the change to the task.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import closing, suppress

from models.events import UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.sql.db import PersistentReader
from tasks import broadcast, resources
from tasks.celery_app import celery
from tasks.metrics import worker_metrics

log = logging.getLogger(__name__)

BATCH = 20
"""The most changes in one fan-out to large audiences."""
NOT_TOLD = "large audiences could not be told, the next task will do it: %s"


@celery.task(name=broadcast.CROWDS)
def tell_crowds(shard: int = 0) -> None:
    """Tell all large audiences of `shard` what was left to this task."""
    with resources.outages_logged(log, NOT_TOLD):
        tell_waiting(resources.presence(), shard)


def tell_waiting(presence: Presence, shard: int = 0) -> None:
    """Tell all large audiences of `shard` what waits for them. If another task does
    that already, do nothing.

    Raises:
        PresenceUnavailable: Redis is down. The next call tells what is left.
        sqlalchemy.exc.SQLAlchemyError: the same for the database.
    """
    crowds = presence.shards[shard].crowds
    token = secrets.token_hex(8)
    with closing(PersistentReader(resources.database())) as database:
        while (entries := crowds.take(token, BATCH)) is not None:
            if not entries:
                if not crowds.leave():
                    return
                continue
            changes = [
                entry.content
                for entry in entries
                if not isinstance(entry.content, UnreadableMessage)
            ]
            try:
                broadcast.tell(presence, shard, database, changes)
            except BaseException:
                with suppress(PresenceUnavailable):
                    crowds.leave()
                raise
            worker_metrics.write(presence, shard)
            crowds.forget(entries)
