"""The task that broadcasts transitions: from the outbox to the gateways' streams.

A process requests `drain_transitions` when its script call made a transition and no
drainer was active. Beat runs it as a safety net. Each shard has one drainer at a time.
It stays after the outbox is empty, so that hardly any change waits for a task of its
own (see `tasks.drainer_policy`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import SQLAlchemyError

from models import fanout
from models.events import NewerVersion, UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import Outbox, OutboxEntry
from models.sql.db import PersistentReader, error_text, is_unavailable
from tasks import resources
from tasks.celery_app import TASK_EXPIRES, celery
from tasks.drainer_policy import worker_state

log = logging.getLogger(__name__)

BATCH = 500
"""Transitions of one fan-out."""
LINGER_MS = 1000
"""Milliseconds that a drainer waits for more before it leaves."""
STAY_MS = 200
"""Milliseconds that a drainer which stays waits before it checks whether its worker is
shutting down."""
CHECK_EVERY = 5.0
"""Seconds between two checks whether shards that were away are back."""
HELD_BACK = "changes are not broadcast: the outbox needs a newer worker: %s"
UNREADABLE = (
    "%d entries of the outbox cannot be read, so all users get a fresh snapshot; "
    "the first is %s: %s"
)
DRAIN_NOT_REQUESTED = "no drain was requested, the broker is away: %s"
LEASE_NOT_GIVEN_UP = "the drainer's lease will expire by itself: %s"
NOT_BROADCAST = "nothing was broadcast, the next drain will do it: %s"


@celery.task(name="tasks.broadcast.drain_transitions")
def drain_transitions(shard: int = 0) -> None:
    """Broadcast what is in the outbox of `shard`, and what is added meanwhile."""
    try:
        while drain(resources.presence(), shard):
            # If the broker is away, no other drainer will come, so this one goes on.
            if request_drain(shard) or worker_state.is_stopping:
                return
    except PresenceUnavailable as error:
        log.warning(NOT_BROADCAST, error)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        log.warning(NOT_BROADCAST, error_text(error))


def drain(presence: Presence, shard: int = 0) -> bool:
    """Drain the outbox of `shard` until it stays empty. Returns whether there may be
    more to do.

    An entry is acknowledged only after it was published. If a drainer dies in between,
    the next one publishes the entry again. That is harmless, because the newest
    timestamp wins.
    """
    with closing(PersistentReader(resources.database())) as database:
        return _drain(presence, shard, database)


def _drain(presence: Presence, shard: int, database: PersistentReader) -> bool:
    token = secrets.token_hex(8)
    outbox = presence.shards[shard].outbox
    shards = len(presence.shards)
    stays = worker_state.keeps_drainers(shards)
    # The first call does not wait: it ends if another drainer is active.
    wait_ms, later_wait_ms = 0, STAY_MS if stays else LINGER_MS // shards
    now = time.monotonic()
    ends_at, check_at = now + worker_state.turn(shards), now
    published: list[OutboxEntry] = []
    while (entries := outbox.drain(token, published, BATCH, wait_ms)) is not None:
        published, wait_ms = [], later_wait_ms
        try:
            if now >= check_at:
                check_at = now + CHECK_EVERY
                _refresh_after_miss(presence, outbox)
            if entries:
                ours = list(takewhile(_is_ours, entries))
                if not ours:
                    log.warning(HELD_BACK, entries[0].content)
                    _leave(outbox, token, published)
                    return False
                if not _publish(presence, shard, database, ours):
                    check_at = now
                published = ours
            elif not stays and outbox.leave(token):
                return False
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
    """Publish `entries` to all gateways that can be reached. If another shard is away,
    that is recorded in the outbox, and the others do not wait for it.

    False: an entry could not be read and was published to nobody. That is recorded too.
    """
    changes = []
    unreadable = []
    for entry in entries:
        if isinstance(entry.content, UnreadableMessage):
            unreadable.append(entry)
        else:
            changes.append(entry.content)
    may_hide = resources.settings().allow_invisible
    away = database.read(
        lambda reader: fanout.fan_out(presence, reader, changes, may_hide=may_hide)
    )
    if shard in away:
        raise away[shard]
    outbox = presence.shards[shard].outbox
    if away:
        outbox.record_missed(away)
    if unreadable:
        first = unreadable[0]
        log.warning(UNREADABLE, len(unreadable), first.entry_id, first.content)
        outbox.record_missed([shard])
    return not unreadable


def _is_ours(entry: OutboxEntry) -> bool:
    """Whether this version can handle `entry`: broadcast it, or skip what no version
    can read. An entry of a newer version is left to a newer worker."""
    return not isinstance(entry.content, NewerVersion)


def _refresh_after_miss(presence: Presence, outbox: Outbox) -> None:
    """If users have missed transitions that have left the outbox, send fresh snapshots
    to all: shards were away and are back, or entries were lost."""
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
    """Send a task that drains `shard`. False: the broker is away; beat sends one
    later."""
    try:
        drain_transitions.apply_async((shard,), retry=False, expires=TASK_EXPIRES)
    except BrokerError as error:
        log.warning(DRAIN_NOT_REQUESTED, error)
        return False
    return True
