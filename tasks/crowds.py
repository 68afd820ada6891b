"""Tells very large audiences, in a task of its own.

The drainer of a shard tells one batch after the other. To read an audience of 100,000,
to find its gateways and to send it takes a second, and every other change of the shard
would wait. So the drainer hands changes of such users over to the task `tell_crowds`.
It remembers the users whose last change had a large audience. At a user's first change,
it reads the audience, and then hands the change over.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import closing, suppress

from models.events import UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.presence.crowds import FIRST
from models.presence.outbox import OutboxEntry
from models.sql.db import PersistentReader
from tasks import broadcast, resources
from tasks.celery_app import celery
from tasks.metrics import worker_metrics

log = logging.getLogger(__name__)

BATCH = 20
"""The most changes in one fan-out to large audiences."""
NOT_TOLD = "large audiences could not be told, the next task will do it: %s"
NEEDS_NEWER_WORKER = (
    "changes for large audiences wait until a newer worker runs: update this worker "
    "(%d, the first: %s)"
)


@celery.task(name=broadcast.CROWDS)
def tell_crowds(shard: int = 0) -> None:
    """Tell all large audiences of `shard` the changes that drainers handed over."""
    with resources.outages_logged(log, NOT_TOLD):
        tell_waiting(resources.presence(), shard)


def tell_waiting(presence: Presence, shard: int = 0) -> None:
    """Tell all large audiences of `shard` what waits for them. If another task does
    that already, do nothing. What a newer version has written stays for a newer worker.

    Raises:
        PresenceUnavailable: Redis is down. The next call tells what is left.
        sqlalchemy.exc.SQLAlchemyError: the same for the database.
    """
    left: list[OutboxEntry] = []
    try:
        _tell_all(presence, shard, left)
    finally:
        if left:
            log.warning(NEEDS_NEWER_WORKER, len(left), left[0].content)


def _tell_all(presence: Presence, shard: int, left: list[OutboxEntry]) -> None:
    """Do the work of `tell_waiting`. Add to `left` what stays for a newer worker. The
    loop skips such entries, and goes on with those behind them."""
    crowds = presence.shards[shard].crowds
    token = secrets.token_hex(8)
    after = FIRST
    with closing(PersistentReader(resources.database())) as database:
        while (entries := crowds.take(token, after, BATCH)) is not None:
            if not entries:
                if not crowds.leave(after):
                    return
                continue
            handled = [one for one in entries if broadcast.can_handle(one)]
            left += [one for one in entries if not broadcast.can_handle(one)]
            changes = [
                one.content
                for one in handled
                if not isinstance(one.content, UnreadableMessage)
            ]
            try:
                if changes:
                    broadcast.tell(presence, shard, database, changes)
            except BaseException:
                with suppress(PresenceUnavailable):
                    crowds.leave()
                raise
            worker_metrics.write(presence, shard)
            crowds.forget(handled)
            after = entries[-1].entry_id
