"""The loops of a gateway: greenlets that live as long as the process does.

A loop survives whatever its step raises. While Redis is away it tries again with
backoff, and says so once, and then once a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from models.presence import PresenceUnavailable
from models.presence.rules import retry_delay

log = logging.getLogger(__name__)

SAY_EVERY = 60.0
"""Seconds between two lines about the same outage."""


class Outage:
    """Says that something is away: at once, once a minute, and when it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None
        self._said_at = 0.0
        self.failures = 0

    def failed(self, error: object) -> None:
        """Another attempt failed."""
        now = time.monotonic()
        self.failures += 1
        if self._since is None:
            self._since = now
        elif now - self._said_at < SAY_EVERY:
            return
        self._said_at = now
        log.warning("%s: %s", self._what, error)

    def succeeded(self) -> None:
        """An attempt succeeded."""
        if self._since is not None:
            lasted = time.monotonic() - self._since
            log.warning("%s: works again after %.1f s", self._what, lasted)
            self._since = None
            self.failures = 0


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
