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
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import takewhile

from kombu.exceptions import OperationalError as BrokerError

from models import fanout
from models.events import DetailChange, NewerVersion, Transition, UnreadableMessage
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import EntryContent, Outbox, OutboxEntry
from models.sql.db import PersistentReader
from models.telemetry import traces
from models.telemetry.changes import log_change
from models.worker_metrics import AUDIENCE, FANOUT, TRANSITIONS
from tasks import resources
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
LARGE = 5_000
"""An audience with more users is large, and left to `tasks.crowds`. A smaller one is
told faster than that task would start."""
MAX_KNOWN = 10_000
"""The most users that `LargeAudiences` remembers. Beyond that, it forgets all."""
CROWDS = "tasks.crowds.tell_crowds"
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
CROWDS_NOT_REQUESTED = (
    "the broker is down. Beat will have large audiences told later: %s"
)
LEASE_NOT_GIVEN_UP = "the drainer could not give up its lease. It will expire: %s"
NOT_BROADCAST = "changes could not be broadcast. The next drain retries: %s"


class LargeAudiences:
    """The users whose audience was large at their last change in this process."""

    def __init__(self) -> None:
        self._users: set[str] = set()

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._users

    def note(self, sizes: Mapping[Transition, int]) -> None:
        """Note how many users heard of each change."""
        for transition, size in sizes.items():
            if size > LARGE:
                if len(self._users) >= MAX_KNOWN:
                    self._users.clear()
                self._users.add(transition.user_id)
            else:
                self._users.discard(transition.user_id)


large_audiences = LargeAudiences()


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
                handled = list(takewhile(can_handle, entries))
                if not handled:
                    log.warning(NEEDS_NEWER_WORKER, entries[0].content)
                    _release_lease(outbox, token, published)
                    return False
                if not _publish(presence, shard, database, handled):
                    check_at = now
                published = handled
            elif not stays and outbox.release_lease(token):
                return False
            worker_metrics.write(presence, shard)
        except BaseException:
            _release_lease(outbox, token, published)
            raise
        now = time.monotonic()
        if now >= ends_at or worker_state.is_stopping:
            _release_lease(outbox, token, published)
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
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    were_known = _hand_over(presence, shard, entries, large_audiences)
    known = large_audiences if were_known else ()
    changes = []
    unreadable = []
    for entry in entries:
        if isinstance(entry.content, UnreadableMessage):
            unreadable.append(entry)
        elif not _is_change_of(entry.content, known):
            changes.append(entry.content)

    def hand_over(sizes: Mapping[Transition, int]) -> Collection[str]:
        found = {one.user_id for one, size in sizes.items() if size > LARGE}
        return found if _hand_over(presence, shard, entries, found) else ()

    tell(presence, shard, database, changes, hand_over)
    if unreadable:
        first = unreadable[0]
        log.warning(UNREADABLE, len(unreadable), first.entry_id, first.content)
        presence.shards[shard].outbox.record_missed([shard])
    return not unreadable


def tell(
    presence: Presence,
    shard: int,
    database: PersistentReader,
    changes: list[EntryContent],
    hand_over: Callable[[Mapping[Transition, int]], Collection[str]] | None = None,
) -> None:
    """Send `changes` of the users of `shard` to all gateways that can be reached. If
    another shard does not answer, record this in the outbox, and do not wait for it.
    `hand_over` is as for `fanout.fan_out`.

    Raises:
        PresenceUnavailable: `shard` itself did not answer.
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    traced = [(change.cause, change.id) for change in changes]
    with traces.spans("broadcast", traced) as causes_with_spans:
        if causes_with_spans:
            changes = [
                replace(change, cause=cause)
                for change, cause in zip(changes, causes_with_spans, strict=True)
            ]
        sizes: dict[Transition, int] = {}
        handed_over: Collection[str] = ()

        def note(found: Mapping[Transition, int]) -> Collection[str]:
            nonlocal handed_over
            sizes.update(found)
            large_audiences.note(found)
            handed_over = hand_over(found) if hand_over is not None else ()
            return handed_over

        started = time.monotonic()
        failed_shards = database.read(
            lambda reader: fanout.fan_out(presence, reader, changes, note)
        )
        seconds = time.monotonic() - started
    if handed_over:
        changes = [one for one in changes if not _is_change_of(one, handed_over)]
        sizes = {
            one: size for one, size in sizes.items() if one.user_id not in handed_over
        }
    _count(shard, changes, sizes, seconds)
    if log.isEnabledFor(logging.DEBUG):
        for change in changes:
            log_change(log, "a change was broadcast", change.id, change.cause)
    if shard in failed_shards:
        raise failed_shards[shard]
    if failed_shards:
        presence.shards[shard].outbox.record_missed(failed_shards)


def _count(
    shard: int,
    changes: Collection[EntryContent],
    sizes: Mapping[Transition, int],
    seconds: float,
) -> None:
    """Count a fan-out for /metrics, and note it for the operators' page."""
    counts = Counter(dict(FANOUT.counted(seconds)))
    for size in sizes.values():
        counts.update(dict(AUDIENCE.counted(size)))
    transitions = [one for one in changes if isinstance(one, Transition)]
    counts.update(TRANSITIONS.field(one.status) for one in transitions)
    worker_metrics.add(shard, counts.items())
    worker_metrics.note(shard, transitions)


def _hand_over(
    presence: Presence,
    shard: int,
    entries: Sequence[OutboxEntry],
    user_ids: Container[str],
) -> bool:
    """Hand those of `entries` over to `tasks.crowds` that are changes of `user_ids`.
    Returns False if none was handed over: there is none, or Redis does not take it.
    Then the caller tells all audiences itself."""
    large = [entry for entry in entries if _is_change_of(entry.content, user_ids)]
    if not large:
        return False
    try:
        presence.shards[shard].crowds.add(large)
    except PresenceUnavailable as error:
        log.warning("large audiences are told in this batch: %s", error)
        return False
    request_crowds(shard)
    return True


def _is_change_of(
    content: EntryContent | UnreadableMessage, user_ids: Container[str]
) -> bool:
    """Whether `content` is a transition or a change of detail of one of `user_ids`. A
    change of visibility names its viewers itself, so it is never handed over."""
    return (
        isinstance(content, Transition | DetailChange) and content.user_id in user_ids
    )


def can_handle(entry: OutboxEntry) -> bool:
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


def _release_lease(
    outbox: Outbox, token: str, published: Sequence[OutboxEntry]
) -> None:
    try:
        outbox.release_lease(token, published, unfinished=True)
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


def request_crowds(shard: int) -> None:
    """Send a task that tells the large audiences of `shard`. If the broker is down, the
    next task of beat tells them."""
    try:
        celery.send_task(CROWDS, (shard,), retry=False, expires=TASK_EXPIRES)
    except BrokerError as error:
        log.warning(CROWDS_NOT_REQUESTED, error)
