"""The decisions of presence, as pure functions: they take `now` and touch nothing.

What must be decided atomically is decided in the Lua scripts; what a process decides by
itself, about its own sockets and about what it has read, is decided here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Survey:
    """What a sweep knows before it expires anybody. Times are ms of Redis's clock;
    `held_since` is 0 where sweeps do not hold."""

    now: int
    no_gap_since: int
    held_since: int
    affected: int
    """Users whose deadline has passed, and those of overdue gateways."""
    online: int
    gateways: int
    overdue_gateways: int
    epoch: int = 0
    """When it was last noticed that Redis had lost what it knew; 0 for never."""


@dataclass(frozen=True, slots=True)
class MassExpiryGuard:
    """When a sweep holds. `share` of all who are online and `count` of users: both have
    to be reached; `hold` and `trust` are ms."""

    share: float
    count: int
    hold: int
    trust: int
    """A gateway silent for that long is gone, if somebody watched meanwhile."""

    def holds(self, survey: Survey) -> bool:
        """Whether the sweep must expire nobody now.

        Where a gateway or many users seem to be dead at once, it is likely that Redis
        stood still, or its clock was moved: the gateways then have `hold` to prove that
        they live. Not so where sweeps have run without a gap for as long as it takes a
        gateway to be dead: then Redis was there, and the silence was real. Where Redis
        has lost what it knew it may know nothing of a few sockets or of all, and where
        it has just come back a gateway may have shown itself, and not yet its users: so
        right after either nobody at all is expired. A gap while sweeps hold takes that
        time from the gateways: it begins anew.
        """
        if survey.held_since:
            return survey.now < max(survey.held_since, survey.no_gap_since) + self.hold
        doubtful_since = max(survey.epoch, survey.no_gap_since)
        if survey.affected and survey.now < doubtful_since + self.hold:
            return True
        return self._is_mass(survey) and not self._was_watched(survey)

    def _is_mass(self, survey: Survey) -> bool:
        """Whether this sweep would make very many users offline at once, or all of a
        gateway. One gateway is enough: when Redis comes back, another may have been
        quicker to show that it lives."""
        many = survey.affected >= max(self.count, self.share * survey.online)
        return bool(survey.affected) and (survey.overdue_gateways > 0 or many)

    def _was_watched(self, survey: Survey) -> bool:
        return survey.now - survey.no_gap_since >= self.trust


def has_lost_messages(read: int, gone: int, silent_ms: float, ttl_ms: int) -> bool:
    """Whether messages are gone from a gateway's stream that the gateway did not read.

    `read` is how many it read, and so deleted, and `gone` how many are gone. A stream
    expires `ttl_ms` after its last message, which the gateway heard `silent_ms` ago:
    then nothing is gone from the one that follows it.
    """
    has_expired = gone == 0 and silent_ms >= ttl_ms
    return gone != read and not has_expired


def has_settled(
    now: int, last_sweep: int | None, no_gap_since: int | None, epoch: int, ms: int
) -> bool:
    """Whether sweeps have run for `ms` and still do, and Redis has lost nothing
    meanwhile. Times are ms of its clock; None where no sweep has run."""
    if last_sweep is None or no_gap_since is None:
        return False
    return now - last_sweep < ms <= now - max(no_gap_since, epoch)


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
