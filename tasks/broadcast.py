"""The task that broadcasts transitions: from the outbox to the gateways' streams.

If a script call makes a transition while no drainer is active, the calling process
requests the task `drain_transitions`. Beat also sends the task regularly, in case a
request was lost. Each shard has one drainer at a time. A drainer may stay when the
outbox is empty, so that most changes need not wait for a new task
(see `tasks.drainer_policy`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile

from kombu.exceptions import OperationalError as BrokerError

from models import fanout
from models.events import NewerVersion, UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import Outbox, OutboxEntry
from models.sql.db import PersistentReader
from tasks import crowds, resources, telling
from tasks.celery_app import TASK_EXPIRES, celery
from tasks.drainer_policy import worker_state
from tasks.metrics import worker_metrics

log = logging.getLogger(__name__)

BATCH = 500
"""The most transitions in one fan-out."""
WAIT_BEFORE_LEAVING_MS = 1000
"""Milliseconds that a drainer waits for another entry before it stops. All shards share
this time."""
SHUTDOWN_CHECK_MS = 200
"""If a drainer stays, it waits this many milliseconds for an entry, and then checks
whether its worker is shutting down."""
CHECK_EVERY = 5.0
"""Seconds between two checks whether users missed transitions."""
NEEDS_NEWER_WORKER = (
    "changes wait in the outbox until a newer worker runs: update this worker (%s)"
)
UNREADABLE = (
    "%d entries of the outbox cannot be read, so all users get a fresh snapshot; "
    "the first is %s: %s"
)
DRAIN_NOT_REQUESTED = "the broker is down. Beat will request the drain later: %s"
LEASE_NOT_GIVEN_UP = "the drainer could not give up its lease. It will expire: %s"
NOT_BROADCAST = "changes could not be broadcast. The next drain retries: %s"


@celery.task(name="tasks.broadcast.drain_transitions")
def drain_transitions(shard: int = 0) -> None:
    """Broadcast all transitions in the outbox of `shard`, including those that are
    added while the task runs."""
    with resources.outages_logged(log, NOT_BROADCAST):
        while drain(resources.presence(), shard):
            # If the broker is down, no other drainer can start, so this one continues.
            if request_drain(shard) or worker_state.is_stopping:
                return


def drain(presence: Presence, shard: int = 0) -> bool:
    """Drain the outbox of `shard` until it stays empty.

    Returns True if another drainer should continue: the time of this drainer is over,
    or its worker is shutting down.

    An entry is acknowledged only after it was published. If a drainer dies in between,
    the next drainer publishes the entry again. This is harmless, because the newest
    timestamp wins.
    """
    with closing(PersistentReader(resources.database())) as database:
        return _publish_batches(presence, shard, database)


def _publish_batches(
    presence: Presence, shard: int, database: PersistentReader
) -> bool:
    token = secrets.token_hex(8)
    outbox = presence.shards[shard].outbox
    shards = len(presence.shards)
    stays = worker_state.keeps_drainers(shards)
    # The first call does not wait. If another drainer is active, it returns None.
    wait_ms = 0
    later_wait_ms = SHUTDOWN_CHECK_MS if stays else WAIT_BEFORE_LEAVING_MS // shards
    now = time.monotonic()
    ends_at, check_at = now + worker_state.stay_seconds(shards), now
    published: list[OutboxEntry] = []
    while (entries := outbox.take(token, published, BATCH, wait_ms)) is not None:
        published, wait_ms = [], later_wait_ms
        try:
            if now >= check_at:
                check_at = now + CHECK_EVERY
                _refresh_after_miss(presence, outbox)
            if entries:
                handled = list(takewhile(_can_handle, entries))
                if not handled:
                    log.warning(NEEDS_NEWER_WORKER, entries[0].content)
                    _leave(outbox, token, published)
                    return False
                if not _publish(presence, shard, database, handled):
                    check_at = now
                published = handled
            elif not stays and outbox.leave(token):
                return False
            worker_metrics.write(presence, shard)
        except BaseException:
            _leave(outbox, token, published)
            raise
        now = time.monotonic()
        if now >= ends_at or worker_state.is_stopping:
            _leave(outbox, token, published)
            return True
    return False


def _publish(
    presence: Presence,
    shard: int,
    database: PersistentReader,
    entries: list[OutboxEntry],
) -> bool:
    """Publish `entries` to all gateways that can be reached. If another shard does not
    answer, record this in the outbox, and do not wait for it. Changes for very large
    audiences are left to `tasks.crowds`.

    Returns False if an entry could not be read and was skipped. This is recorded too.

    Raises:
        PresenceUnavailable: `shard` itself did not answer.
    """
    changes = []
    unreadable = []
    for entry in crowds.leave_to_task(presence, shard, entries):
        if isinstance(entry.content, UnreadableMessage):
            unreadable.append(entry)
        else:
            changes.append(entry.content)
    telling.tell(presence, shard, database, changes)
    if unreadable:
        first = unreadable[0]
        log.warning(UNREADABLE, len(unreadable), first.entry_id, first.content)
        presence.shards[shard].outbox.record_missed([shard])
    return not unreadable


def _can_handle(entry: OutboxEntry) -> bool:
    """Whether this version can handle `entry`: broadcast it, or skip it because no
    version can read it. Only a newer worker can handle an entry of a newer version."""
    return not isinstance(entry.content, NewerVersion)


def _refresh_after_miss(presence: Presence, outbox: Outbox) -> None:
    """Send fresh snapshots to all users if some of them missed transitions: a shard did
    not answer, or entries of the outbox were lost. If a shard still does not answer, a
    later check sends them."""
    if not outbox.has_missed():
        return
    try:
        fanout.refresh_all(presence)
    except PresenceUnavailable as error:
        log.debug("fresh snapshots wait until all shards answer: %s", error)
    else:
        outbox.clear_missed()
        log.warning("transitions were lost or missed: all users get fresh snapshots")


def _leave(outbox: Outbox, token: str, published: Sequence[OutboxEntry]) -> None:
    try:
        outbox.leave(token, published, unfinished=True)
    except PresenceUnavailable as error:
        log.warning(LEASE_NOT_GIVEN_UP, error)


def request_drain(shard: int = 0) -> bool:
    """Send a task that drains `shard`. Returns False if the broker is down. Then the
    next task of beat drains the shard."""
    try:
        drain_transitions.apply_async((shard,), retry=False, expires=TASK_EXPIRES)
    except BrokerError as error:
        log.warning(DRAIN_NOT_REQUESTED, error)
        return False
    return True
