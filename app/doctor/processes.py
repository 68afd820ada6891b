"""Checks whether a worker and a beat live: a task must come back, and sweeps go on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from kombu.exceptions import OperationalError

from app.doctor.findings import Finding, ok, problem
from config import Settings
from models.presence import Presence, PresenceUnavailable
from tasks.doctor import answer

POLL_SECONDS = 0.1
WORKER_SECONDS = 10.0
"""A worker that is busy with a large batch answers within this time."""
BUSY_SECONDS = 5.0
"""By so much a busy worker may delay a sweep."""


def check_processes(settings: Settings, presence: Presence) -> Iterator[Finding]:
    """The gateways, a worker and beat."""
    try:
        yield from _gateways(presence)
        yield from _worker_and_beat(settings, presence)
    except PresenceUnavailable:
        yield problem(
            "processes", "Redis is not available, so they are unknown", "See above"
        )


def _gateways(presence: Presence) -> Iterator[Finding]:
    overview = presence.overview()
    living = overview.gateways - overview.overdue_gateways
    if living > 0:
        yield ok("web", f"gateways that live: {living}")
    else:
        yield problem("web", "no gateway lives", "Start the line `web` of the Procfile")


def _worker_and_beat(settings: Settings, presence: Presence) -> Iterator[Finding]:
    question = secrets.token_hex(8)
    try:
        answer.apply_async((question,), retry=False)
    except (OperationalError, OSError) as error:
        yield problem(
            "worker", f"no task can be sent: {error}", "Check CELERY_BROKER_URL"
        )
        return
    began = time.monotonic()
    if not _comes(lambda: presence.servers.is_answered(question), WORKER_SECONDS):
        yield problem(
            "worker",
            f"none has answered within {WORKER_SECONDS:g} s",
            "Start the line `worker` of the Procfile, and look at its log",
        )
        yield problem(
            "beat", "without a worker it is unknown", "Run this command again then"
        )
        return
    took = time.monotonic() - began
    yield ok("worker", f"a task came back after {took:.1f} s")
    allowed = 2 * settings.sweep_interval + BUSY_SECONDS
    if _comes(lambda: _has_swept(presence, began), allowed):
        yield ok("beat", f"it starts a sweep every {settings.sweep_interval:g} s")
    else:
        yield problem(
            "beat",
            f"no sweep within {allowed:g} s, so silent users stay online",
            "Start the line `beat` of the Procfile, exactly once",
        )


def _has_swept(presence: Presence, since: float) -> bool:
    """Whether all shards have been swept since that time of the monotonic clock."""
    age = presence.overview().last_sweep_age
    return age is not None and age / 1000 < time.monotonic() - since


def _comes(is_there: Callable[[], bool], seconds: float) -> bool:
    """Wait up to `seconds` for a condition."""
    deadline = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
