"""The loops of a gateway: greenlets that live as long as the process does.

A loop survives whatever its step raises. While Redis is away it tries again with
backoff. One of them says so at once, and then once a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ClassVar

import gevent

from models.presence import PresenceUnavailable
from models.presence.rules import retry_delay

log = logging.getLogger(__name__)

SAY_EVERY = 60.0
"""Seconds between two lines about the same outage."""


class _Away:
    """What the loops of this process know of something that is away."""

    def __init__(self) -> None:
        self.failing: set[Outage] = set()
        self.since = 0.0
        self.said_at = -SAY_EVERY


class Outage:
    """Says that something is away: at once, once a minute, and when it is back. Of all
    loops that lack the same thing one says so: the kind of the error tells what it is.
    One that is `alone` shares nothing with the others.
    """

    _shared: ClassVar[dict[type, _Away]] = {}

    def __init__(self, what: str, *, alone: bool = False) -> None:
        self._what = what
        self._away: dict[type, _Away] = {} if alone else self._shared
        self.failures = 0

    def failed(self, error: object) -> None:
        """Another attempt failed."""
        now = time.monotonic()
        self.failures += 1
        away = self._away.setdefault(type(error), _Away())
        if not away.failing:
            away.since, away.said_at = now, -SAY_EVERY
        away.failing.add(self)
        if now - away.said_at >= SAY_EVERY:
            away.said_at = now
            log.warning("%s: %s", self._what, error)

    def succeeded(self) -> None:
        """An attempt succeeded. The last one of all for whom it was away says so."""
        if not self.failures:
            return
        self.failures = 0
        for away in self._away.values():
            if self in away.failing:
                away.failing.remove(self)
                if not away.failing:
                    lasted = time.monotonic() - away.since
                    log.warning("%s: works again after %.1f s", self._what, lasted)


def spawn_loop(name: str, step: Callable[[], None]) -> gevent.Greenlet[..., None]:
    """Call `step` again and again in a greenlet. `step` does its own waiting."""

    def loop() -> None:
        outage = Outage(name)
        while True:
            try:
                step()
            except PresenceUnavailable as error:
                outage.failed(error)
                gevent.sleep(retry_delay(outage.failures))
            except Exception:
                # A bug in one step must not end heartbeats or delivery for everybody.
                log.exception("%s: a step failed", name)
                gevent.sleep(1)
            else:
                outage.succeeded()

    return gevent.spawn(loop)
