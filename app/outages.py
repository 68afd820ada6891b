"""Log lines about outages: one at the start, then one a minute, and one at the end."""

from __future__ import annotations

import logging
import time
from typing import ClassVar

log = logging.getLogger(__name__)

LOG_EVERY = 60.0
"""Seconds between two lines about the same outage."""


class _Down:
    """What this process knows about something that is down."""

    def __init__(self) -> None:
        self.failing: set[Outage] = set()
        self.since = 0.0
        self.logged_at = -LOG_EVERY


class Outage:
    """Logs that something is down: at once, once a minute, and when it works again.

    Several parts of the process may use the same thing. Its outage is then logged once
    for all of them: errors of the same type mean that the same thing is down. With
    `alone`, this outage is logged separately.
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
            down.since, down.logged_at = now, -LOG_EVERY
        down.failing.add(self)
        if now - down.logged_at >= LOG_EVERY:
            down.logged_at = now
            log.warning("%s: %s", self._what, error)

    def succeeded(self) -> None:
        """An attempt succeeded. If several parts had failed, only the last one logs
        this."""
        if not self.failures:
            return
        self.failures = 0
        for down in self._down.values():
            if self in down.failing:
                down.failing.remove(self)
                if not down.failing:
                    lasted = time.monotonic() - down.since
                    log.warning("%s: works again after %.1f s", self._what, lasted)
