"""The decisions of presence, as pure functions: they take `now` and touch nothing.

What must be decided atomically is decided in the Lua scripts; what a process decides by
itself, about its own sockets and about what it has read, is decided here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from models.events import Transition


def newest_per_user(transitions: Iterable[Transition]) -> list[Transition]:
    """Of each user the transition with the newest timestamp, in the order in which the
    users first appear. Who was online, offline and online again in one batch is online:
    nobody need hear of the rest."""
    newest: dict[str, Transition] = {}
    for transition in transitions:
        known = newest.get(transition.user_id)
        if known is None or transition.timestamp > known.timestamp:
            newest[transition.user_id] = transition
    return list(newest.values())


def is_silent(last_heartbeat: float, now: float, online_ttl: float) -> bool:
    """Whether a connection has been silent for too long. Monotonic seconds."""
    return now - last_heartbeat >= online_ttl


def is_expired(expires_at: float | None, now: float) -> bool:
    """Whether a token is no longer good. Seconds since the epoch; None never ends."""
    return expires_at is not None and expires_at <= now


def age_ms(then: float, now: float, online_ttl: float) -> int:
    """How long ago `then` was, in whole milliseconds, for a script to subtract from its
    own clock. Monotonic seconds; never negative, and always short of the TTL, so that
    a key is never given a deadline in the past."""
    most = max(0, math.floor(online_ttl * 1000) - 1)
    return min(max(0, math.floor((now - then) * 1000)), most)


def retry_delay(failures: int, least: float = 0.05, most: float = 1.0) -> float:
    """Seconds to wait after the n-th failure in a row: doubling, capped, with full
    jitter (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015)."""
    ceiling = min(most, least * 2 ** min(failures, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, hides nothing
