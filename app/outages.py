"""Log lines about outages: one at once, one a minute, and one when it is over."""

from __future__ import annotations

import logging
import time
from typing import ClassVar

log = logging.getLogger(__name__)

SAY_EVERY = 60.0
"""Seconds between two lines about the same outage."""


class _Down:
    """What this process knows about something that is down."""

    def __init__(self) -> None:
        self.failing: set[Outage] = set()
        self.since = 0.0
        self.said_at = -SAY_EVERY


class Outage:
    """Logs that something is down: at once, once a minute, and when it works again.

    Several users of the same thing log it once: the type of the error tells what is
    down. An outage that is `alone` shares nothing with the others.
    """

    _shared: ClassVar[dict[type, _Down]] = {}

    def __init__(self, what: str, *, alone: bool = False) -> None:
        self._what = what
        self._down: dict[type, _Down] = {} if alone else self._shared
        self.failures = 0

    def failed(self, error: object) -> None:
        """Another attempt failed with `error`."""
        now = time.monotonic()
        self.failures += 1
        down = self._down.setdefault(type(error), _Down())
        if not down.failing:
            down.since, down.said_at = now, -SAY_EVERY
        down.failing.add(self)
        if now - down.said_at >= SAY_EVERY:
            down.said_at = now
            log.warning("%s: %s", self._what, error)

    def succeeded(self) -> None:
        """An attempt succeeded. The last of the users for which it was down logs it."""
        if not self.failures:
            return
        self.failures = 0
        for down in self._down.values():
            if self in down.failing:
                down.failing.remove(self)
                if not down.failing:
                    lasted = time.monotonic() - down.since
                    log.warning("%s: works again after %.1f s", self._what, lasted)
