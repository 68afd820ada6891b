"""Estimates what the clock of a shard's Redis says, between two replies.

The timestamp of a transition comes from that clock. So the clock is needed to measure
how long a transition has been on its way. The clock of this machine may differ.
"""

from __future__ import annotations

import time
from collections import deque

REMEMBERED = 60
"""Replies that count: about a minute of them. Clocks drift apart much more slowly."""


class RedisClock:
    """The clock of one shard. The reply that came fastest tells most, so the estimate
    is late by the least time that a reply took, and by up to a millisecond."""

    def __init__(self) -> None:
        self._leads: deque[float] = deque(maxlen=REMEMBERED)
        self._lead: float | None = None

    def answered(self, now: int) -> None:
        """A reply has just come. The clock said `now` (ms) when Redis sent it."""
        self._leads.append(now - time.monotonic() * 1000)
        self._lead = max(self._leads)

    def was_set(self) -> None:
        """The clock was set, or belongs to another server now."""
        self._leads.clear()
        self._lead = None

    def now(self) -> float | None:
        """What the clock says (ms). None before the first reply."""
        return None if self._lead is None else self._lead + time.monotonic() * 1000
