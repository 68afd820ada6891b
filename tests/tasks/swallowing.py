"""A scheduler for `test_beat`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from celery import beat


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """In its first round beat is told to stop, while Python ignores what the handler of
    the signal raises. Python does so in destructors. A second round ends the process
    with 1."""

    rounds = 0

    def tick(self) -> float:
        """One round. Returns the seconds to the next one."""
        self.rounds += 1
        if self.rounds > 1:
            os._exit(1)
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        return 0.01
