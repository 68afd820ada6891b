"""The task that tells gateways of transitions.

`drain_transitions` empties the outbox. It is asked for by the process whose script call
found nobody draining, and by beat as a safety net. One drainer works at a time in each
shard; it stays after the outbox is empty, so that hardly a change waits for a task of
its own (see `tasks.drainer_policy`).
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
from models.events import NewerVersion, Transition
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import Outbox, OutboxEntry
from models.sql.db import KeptReader, is_away, what_it_says
from tasks import resources
from tasks.celery_app import TASK_EXPIRES, celery
from tasks.drainer_policy import worker

log = logging.getLogger(__name__)

BATCH = 500
"""Transitions of one fan-out."""
LINGER_MS = 1000
"""How long a drainer waits for more before it stops."""
STAY_MS = 200
"""How long one that stays waits before it looks whether its worker is to stop."""
LOOK_EVERY = 5.0
"""Seconds between two looks at whether shards are back that were away."""
HELD_BACK = "the outbox waits for a newer worker, and nobody hears of changes: %s"
UNREADABLE = (
    "%d entries of the outbox cannot be read, all get a fresh snapshot instead; "
    "the first is %s: %s"
)
NOT_ASKED_FOR = "no drain was asked for, the broker is away: %s"
NOT_LEFT = "the drainer's lease runs out by itself: %s"
NOT_BROADCAST = "nothing was broadcast, the next drain will do it: %s"


@celery.task(name="tasks.broadcast.drain_transitions")
def drain_transitions(shard: int = 0) -> None:
    """Broadcast what is in the outbox of `shard`, and what comes while at it."""
    try:
        while drain(resources.presence(), shard):
            # Where the broker is away nobody else would come: we go on.
            if kick(shard) or worker.stops:
                return
    except PresenceUnavailable as error:
        log.warning(NOT_BROADCAST, error)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        log.warning(NOT_BROADCAST, what_it_says(error))


def drain(presence: Presence, shard: int = 0) -> bool:
    """Drain the outbox of `shard` until it stays empty. Returns whether there may be
    more to do.

    An entry is acknowledged only after it was published: a drainer that dies in between
    leaves it to the next one, and the repeat is harmless since the newest timestamp
    wins.
    """
    with closing(KeptReader(resources.database())) as database:
        return _drain(presence, shard, database)


def _drain(presence: Presence, shard: int, database: KeptReader) -> bool:
    token = secrets.token_hex(8)
    outbox = presence.shards[shard].outbox
    shards = len(presence.shards)
    stays = worker.keeps_drainers(shards)
    patience = STAY_MS if stays else LINGER_MS // shards
    wait_ms = 0  # a first look: where another drains, or nothing is there, it is over
    now = time.monotonic()
    ends, look_at = now + worker.turn(shards), now
    published: list[OutboxEntry] = []
    while (entries := outbox.drain(token, published, BATCH, wait_ms)) is not None:
        published, wait_ms = [], patience
        try:
            if now >= look_at:
                look_at = now + LOOK_EVERY
                _make_good(presence, outbox)
            if entries:
                ours = list(takewhile(_is_ours, entries))
                if not ours:
                    log.warning(HELD_BACK, entries[0].transition)
                    _leave(outbox, token, published)
                    return False
                if not _tell(presence, shard, database, ours):
                    look_at = now
                published = ours
            elif not stays and outbox.leave(token):
                return False
        except BaseException:
            _leave(outbox, token, published)
            raise
        now = time.monotonic()
        if now >= ends or worker.stops:
            _leave(outbox, token, published)
            return True
    return False


def _tell(
    presence: Presence, shard: int, database: KeptReader, entries: list[OutboxEntry]
) -> bool:
    """Tell of the `entries` whoever can be told. Another shard that is away is
    remembered, and does not hold up the others. False: an entry could not be read, so
    nobody was told of that one, and all are owed a fresh snapshot."""
    transitions = []
    unreadable = []
    for entry in entries:
        if isinstance(entry.transition, Transition):
            transitions.append(entry.transition)
        else:
            unreadable.append(entry)
    away = database.read(lambda reader: fanout.fan_out(presence, reader, transitions))
    if shard in away:
        raise away[shard]
    outbox = presence.shards[shard].outbox
    if away:
        outbox.record_missed(away)
    if unreadable:
        first = unreadable[0]
        log.warning(UNREADABLE, len(unreadable), first.entry_id, first.transition)
        outbox.record_missed([shard])
    return not unreadable


def _is_ours(entry: OutboxEntry) -> bool:
    """Whether this version knows what to do with `entry`: broadcast it, or pass over
    what nobody can read. One of a newer version is left to a newer worker."""
    return not isinstance(entry.transition, NewerVersion)


def _make_good(presence: Presence, outbox: Outbox) -> None:
    """If some were not told what the outbox no longer has, give all a fresh snapshot:
    shards were away that are back now, or entries were lost."""
    if not outbox.has_missed():
        return
    try:
        fanout.make_good(presence)
    except PresenceUnavailable as error:
        log.debug("some are still owed news: %s", error)
    else:
        outbox.clear_missed()
        log.warning("transitions were lost or not told to all: all get fresh snapshots")


def _leave(outbox: Outbox, token: str, published: Sequence[OutboxEntry]) -> None:
    try:
        outbox.leave(token, published, unfinished=True)
    except PresenceUnavailable as error:
        log.warning(NOT_LEFT, error)


def kick(shard: int = 0) -> bool:
    """Ask for a drain of `shard`. False where the broker is away: beat asks again."""
    try:
        drain_transitions.apply_async((shard,), retry=False, expires=TASK_EXPIRES)
    except BrokerError as error:
        log.warning(NOT_ASKED_FOR, error)
        return False
    return True
