"""Decides how long a drainer of an outbox stays.

If a drainer is waiting, a change is broadcast at once. Otherwise a task must be sent
first. Sending it through the broker to a worker takes longer than all other steps. So
if the worker has a spare process, a drainer stays for a minute, even if nothing
changes. If not, the drainer stops when the outbox is empty, or after some seconds. Then
other tasks can run.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import Any

LONG_STAY = 60.0
"""If a worker has a spare process: seconds after which a drainer hands over to the next
drainer."""
SHORT_STAY = 3.0
"""Otherwise: seconds after which a drainer lets other tasks run. The drainers of all
shards share this time."""

LEAST_WITHOUT_SENDER = 2
"""Processes that must be left for drains and sweeps."""


@dataclass(slots=True)
class WorkerState:
    """State that all processes of a Celery worker share, because they are forked from
    the process that makes it. Outside a worker, it describes one process that is not
    shutting down."""

    processes: int = 1
    """Processes that drain and sweep. The sender of webhooks has another one."""
    has_sender: bool = False
    """Whether there is a process for the sender of webhooks."""
    _is_stopping: Any = field(default_factory=lambda: RawValue(ctypes.c_bool))

    def stop(self) -> None:
        """Record for all processes that the worker is shutting down."""
        self._is_stopping.value = True

    @property
    def is_stopping(self) -> bool:
        """Whether the worker is shutting down."""
        return bool(self._is_stopping.value)

    def keeps_drainers(self, shards: int) -> bool:
        """Whether the drainers of all `shards` may stay. They may if there is still a
        process for the other tasks."""
        return self.processes > shards

    def count(self, processes: int, *, sends_webhooks: bool) -> None:
        """Set how many `processes` the worker has. If it sends webhooks, the sender
        gets one of them, as long as two are left."""
        self.has_sender = sends_webhooks and processes > LEAST_WITHOUT_SENDER
        self.processes = processes - self.has_sender

    @property
    def sender_seconds(self) -> float:
        """Seconds that the sender of webhooks stays at most. Without a process of its
        own it also stops when nothing waits, so that other tasks can run."""
        return LONG_STAY if self.has_sender else SHORT_STAY

    def stay_seconds(self, shards: int) -> float:
        """Seconds that the drainer of one of `shards` stays. If there are too few
        processes, the shards share SHORT_STAY, so that each shard is drained soon."""
        return LONG_STAY if self.keeps_drainers(shards) else SHORT_STAY / shards


worker_state = WorkerState()
