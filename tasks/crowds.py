"""Tells very large audiences, in a task of its own.

The drainer of a shard tells one batch after the other. To read an audience of 100,000,
to find its gateways and to send it takes a second, and every other change of the shard
would wait. So the drainer leaves changes of such users to the task `tell_crowds`. It
knows the users from their last change in the same process. So each process tells a
large audience once by itself.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import closing, suppress

from kombu.exceptions import OperationalError as BrokerError

from models.events import DetailChange, Transition, UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import OutboxEntry
from models.sql.db import PersistentReader
from tasks import resources, telling
from tasks.celery_app import TASK_EXPIRES, celery
from tasks.metrics import worker_metrics
from tasks.telling import large_audiences

log = logging.getLogger(__name__)

BATCH = 20
"""The most changes in one fan-out to large audiences."""
NOT_TOLD = "large audiences could not be told, the next task will do it: %s"
NOT_REQUESTED = "the broker is down, beat will have large audiences told later: %s"


def leave_to_task(
    presence: Presence, shard: int, entries: Sequence[OutboxEntry]
) -> list[OutboxEntry]:
    """Leave those of `entries` to the task whose users have large audiences. Returns
    the others, which the caller tells. If Redis takes no more data, these are all."""
    large = [
        entry
        for entry in entries
        # The viewers of a change of visibility are in the entry.
        if isinstance(entry.content, Transition | DetailChange)
        and entry.content.user_id in large_audiences
    ]
    if not large:
        return list(entries)
    try:
        presence.shards[shard].crowds.add(large)
    except PresenceUnavailable as error:
        log.warning("large audiences are told beside the others: %s", error)
        return list(entries)
    request_task(shard)
    return [entry for entry in entries if entry not in large]


@celery.task(name="tasks.crowds.tell_crowds")
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
                telling.tell(presence, shard, database, changes)
            except BaseException:
                with suppress(PresenceUnavailable):
                    crowds.leave()
                raise
            worker_metrics.write(presence, shard)
            crowds.forget(entries)


def request_task(shard: int) -> None:
    """Send a task that tells the large audiences of `shard`. If the broker is down, the
    next task of beat tells them."""
    try:
        tell_crowds.apply_async((shard,), retry=False, expires=TASK_EXPIRES)
    except BrokerError as error:
        log.warning(NOT_REQUESTED, error)
