"""Whether Redis may be believed when it says that somebody is gone.

A Redis that has just come back with an older state does not know the sockets that were
opened since, until the gateways have registered them anew. Who made users offline in
that time would be wrong about them.
"""

from __future__ import annotations

import time

from config import Settings

FLUSHES = 3
"""Flush intervals without an answer after which Redis may have been away."""


class Trust:
    """What this gateway knows of Redis by its own heartbeats. Monotonic seconds."""

    def __init__(self, settings: Settings) -> None:
        self._within = FLUSHES * settings.flush_interval
        self._hold = settings.breaker_hold
        self._answered_at = time.monotonic()
        self._lost_at: float | None = None
        self.deadline = 0
        """This gateway's deadline as Redis last told it (ms); 0 for none."""

    def answered(self, deadline: int) -> None:
        """Redis has answered a heartbeat."""
        self._answered_at = time.monotonic()
        self.deadline = deadline

    def lost(self) -> None:
        """Redis, or the sweeps, had lost this gateway, and maybe others."""
        self._lost_at = time.monotonic()

    def is_given(self) -> bool:
        """Whether users may be made offline: heartbeats get through, and others have
        had time to register."""
        now = time.monotonic()
        if now - self._answered_at > self._within:
            return False
        return self._lost_at is None or now - self._lost_at > self._hold
