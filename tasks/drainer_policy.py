"""How long a drainer of an outbox stays.

A change that finds a drainer waiting is broadcast at once. Otherwise a task must be
sent, and waiting for the broker and a worker takes longer than all other steps. So if
the worker has a spare process, a drainer stays for a minute, even if nothing changes.
If not, it leaves when the outbox is empty, or after some seconds, to let other tasks
run.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import Any

RESIDENT_TURN = 60.0
"""Seconds after which a drainer that stays lets another one take over."""
SHORT_TURN = 3.0
"""Seconds after which a drainer lets other tasks run; all shards share them."""


@dataclass(slots=True)
class WorkerState:
    """What all processes of a Celery worker know, because they are forked from the one
    that does. Outside a worker there is one process, which is never told to stop."""

    processes: int = 1
    _is_stopping: Any = field(default_factory=lambda: RawValue(ctypes.c_bool))

    def stop(self) -> None:
        """Tell all processes that the worker is shutting down."""
        self._is_stopping.value = True

    @property
    def is_stopping(self) -> bool:
        """Whether the worker is shutting down."""
        return bool(self._is_stopping.value)

    def keeps_drainers(self, shards: int) -> bool:
        """Whether the drainers of all `shards` may stay: a process must be left for the
        other tasks."""
        return self.processes > shards

    def turn(self, shards: int) -> float:
        """Seconds that the drainer of one of `shards` stays. If there are too few
        processes, the shards share SHORT_TURN, so that each of them gets a turn."""
        return RESIDENT_TURN if self.keeps_drainers(shards) else SHORT_TURN / shards


worker_state = WorkerState()
