"""How long a drainer of an outbox stays.

A change that finds a drainer waiting is told at once; one that has to have a task sent
waits for the broker and a worker, which is longer than all the rest. So where a worker
has processes to spare a drainer stays for a minute, changes or not. Where it has none,
it makes room for other tasks after some seconds, and goes when nothing is left to do.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import Any

RESIDENT_TURN = 60.0
"""Seconds after which a drainer that stays has another one take over."""
SHORT_TURN = 3.0
"""Seconds after which a drainer makes room, in all shards together."""


@dataclass(slots=True)
class Worker:
    """What the processes of a Celery worker know of it; they are forked from the one
    that knows. Outside a worker there is one process, and no end."""

    processes: int = 1
    _stops: Any = field(default_factory=lambda: RawValue(ctypes.c_bool))

    def stop(self) -> None:
        """All its processes are to come to an end."""
        self._stops.value = True

    @property
    def stops(self) -> bool:
        """Whether the worker has been told to stop."""
        return bool(self._stops.value)

    def keeps_drainers(self, shards: int) -> bool:
        """Whether the drainers of all `shards` may stay, and leave one for the rest."""
        return self.processes > shards

    def turn(self, shards: int) -> float:
        """Seconds for which the drainer of one of `shards` stays. Where they share the
        processes each has a part of the time, so that all of them get a turn."""
        return RESIDENT_TURN if self.keeps_drainers(shards) else SHORT_TURN / shards


worker = Worker()
