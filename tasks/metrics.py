"""Counts what this worker process does. The numbers go to Redis, see
`models.worker_metrics`. So do the newest transitions, for the operators' page.

They are gathered in memory and written at most once a second, so that counting delays
no change. While Redis is away they wait here. A process that is killed loses those of
its last second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from celery import Task, states
from celery.signals import task_postrun, task_prerun

from models.events import Transition
from models.presence import Presence, PresenceError
from models.presence.samples import KEPT_TRANSITIONS
from models.worker_metrics import DATABASE_OUTAGES, TASK_FAILURES, TASKS
from tasks import resources
from tasks.celery_app import scheduled_tasks, short_name
from tasks.drainer_policy import worker_state

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two writes of the numbers of a shard."""
PAUSE = 10.0
"""Seconds without a write after one that failed. A write to a server that does not
answer takes long."""


class WorkerMetrics:
    """The numbers of one worker process that are not yet written, by shard. Several
    threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Counter[str]] = {}
        self._recent: dict[int, deque[Transition]] = {}
        self._write_at: dict[int, float] = {}

    def add(self, shard: int, counts: Iterable[tuple[str, int]]) -> None:
        """Add to fields of `shard`."""
        with self._lock:
            waiting = self._waiting.setdefault(shard, Counter())
            for field, more in counts:
                waiting[field] += more

    def note(self, shard: int, transitions: Iterable[Transition]) -> None:
        """Remember the newest of `transitions`, which were broadcast."""
        with self._lock:
            noted = self._recent.setdefault(shard, deque(maxlen=KEPT_TRANSITIONS))
            noted.extend(transitions)

    def write(self, presence: Presence, shard: int) -> None:
        """Write the numbers of `shard`, unless that was done just now. A worker that is
        shutting down always writes. If Redis does not take them, they wait."""
        now = time.monotonic()
        with self._lock:
            is_early = now < self._write_at.get(shard, 0.0)
            if not self._waiting.get(shard) or (
                is_early and not worker_state.is_stopping
            ):
                return
            counts = self._waiting.pop(shard)
            recent = self._recent.pop(shard, None)
            self._write_at[shard] = now + EVERY
        try:
            presence.worker_counts.add(shard, counts)
            counts = Counter()
            if recent:
                presence.recent_transitions.add(shard, recent)
        except PresenceError as error:
            log.debug("the numbers of this worker wait: %s", error)
            self.add(shard, counts.items())
            self._write_at[shard] = time.monotonic() + PAUSE


worker_metrics = WorkerMetrics()

_started: dict[str, float] = {}
"""Task id -> when it began (monotonic seconds)."""


@task_prerun.connect
def _begin(task_id: str, **_: object) -> None:
    _started[task_id] = time.monotonic()


@task_postrun.connect
def _end(
    task_id: str,
    task: Task,
    args: Sequence[int],
    state: str | None = None,
    **_: object,
) -> None:
    """Note how long a task took, and how it ended, if beat sends such tasks."""
    started = _started.pop(task_id, None)
    had_outage = task_id in resources.without_database
    resources.without_database.discard(task_id)
    if started is None or task.name not in scheduled_tasks():
        return
    name = short_name(task.name)
    shard = args[0] if args else 0
    worker_metrics.add(shard, TASKS.counted(time.monotonic() - started, name))
    if state == states.FAILURE:
        worker_metrics.add(shard, [(TASK_FAILURES.field(name), 1)])
    if had_outage:
        worker_metrics.add(shard, [(DATABASE_OUTAGES.field(name), 1)])
    worker_metrics.write(resources.presence(), shard)
