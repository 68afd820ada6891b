"""One fan-out of a worker: with its trace, its log lines and its metrics."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from models import fanout
from models.events import Transition
from models.presence import Presence
from models.presence.outbox import EntryContent
from models.sql.db import PersistentReader
from models.telemetry import traces
from models.telemetry.changes import log_change
from models.worker_metrics import AUDIENCE, FANOUT, TRANSITIONS
from tasks.metrics import worker_metrics

log = logging.getLogger(__name__)

LARGE = 5_000
"""Users in a large audience. The task for large audiences (`tasks.crowds`) would take
longer to start than it takes to tell a smaller one."""
MAX_KNOWN = 10_000
"""Users whom a process knows as those with large audiences."""


class LargeAudiences:
    """The users whose audience was large at their last change in this process."""

    def __init__(self) -> None:
        self._users: set[str] = set()

    def __contains__(self, user_id: str) -> bool:
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


def tell(
    presence: Presence,
    shard: int,
    database: PersistentReader,
    changes: list[EntryContent],
) -> None:
    """Send `changes` of the users of `shard` to all gateways that can be reached. If
    another shard does not answer, record this in the outbox, and do not wait for it.

    Raises:
        PresenceUnavailable: `shard` itself did not answer.
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    traced = [(change.cause, change.id) for change in changes]
    with traces.spans("broadcast", traced) as changed:
        if changed:
            changes = [
                replace(change, cause=cause)
                for change, cause in zip(changes, changed, strict=True)
            ]
        sizes: dict[Transition, int] = {}
        started = time.monotonic()
        failed_shards = database.read(
            lambda reader: fanout.fan_out(presence, reader, changes, sizes.update)
        )
        seconds = time.monotonic() - started
    large_audiences.note(sizes)
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
