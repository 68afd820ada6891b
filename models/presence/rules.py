"""The decisions of presence as pure functions: they take `now` and do no I/O.

Decisions that must be atomic are in the Lua scripts. This module has the decisions that
a process makes alone, about its own sockets and about what it has read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from models.events import Transition


def newest_per_user(transitions: Iterable[Transition]) -> list[Transition]:
    """The transition with the newest timestamp of each user, in the order in which the
    users first appear. A user who was online, offline and online again is online;
    nothing else needs to be sent."""
    newest: dict[str, Transition] = {}
    for transition in transitions:
        known = newest.get(transition.user_id)
        if known is None or transition.timestamp > known.timestamp:
            newest[transition.user_id] = transition
    return list(newest.values())


@dataclass(frozen=True, slots=True)
class Survey:
    """What a sweep knows before it expires anybody. Times are ms of Redis's clock."""

    now: int
    no_gap_since: int
    """The time since which sweeps have run without a gap."""
    held_since: int
    """When the guard began to hold sweeps; 0 if it does not hold them."""
    affected: int
    """Users whose deadline has passed, and users of overdue gateways."""
    online: int
    gateways: int
    overdue_gateways: int
    epoch: int = 0
    """When a loss of state in Redis was last noticed; 0 for never."""


@dataclass(frozen=True, slots=True)
class MassExpiryGuard:
    """Holds a sweep that would make implausibly many users offline at once: the sweep
    then expires nobody."""

    share: float
    """A sweep is a mass expiry if it would expire at least this share of the online
    users, and at least `count` users."""
    count: int
    """See `share`."""
    hold: int
    """How long a hold lasts (ms)."""
    trust: int
    """Silence after which a gateway is dead, if sweeps ran during that time (ms)."""

    def holds(self, survey: Survey) -> bool:
        """Whether the sweep must expire nobody now.

        If a gateway or many users seem to be dead at once, Redis probably stood still
        or its clock was moved. The gateways then get `hold` to send a heartbeat. If
        sweeps have run without a gap for `trust`, Redis was up, so the silence is real.

        After a loss of state Redis may not know some sockets. Just after Redis came
        back, a gateway may have registered before its users. So nobody is expired for
        `hold` after each of these two events.

        A gap during a hold takes time from the gateways, so the hold starts again.
        """
        if survey.held_since:
            return survey.now < max(survey.held_since, survey.no_gap_since) + self.hold
        doubtful_since = max(survey.epoch, survey.no_gap_since)
        if survey.affected and survey.now < doubtful_since + self.hold:
            return True
        return self._is_mass_expiry(survey) and not self._was_watched(survey)

    def _is_mass_expiry(self, survey: Survey) -> bool:
        """Whether the sweep would make very many users offline at once, or all users of
        a gateway. One gateway is enough: when Redis comes back, another gateway may
        have sent its heartbeat first."""
        many = survey.affected >= max(self.count, self.share * survey.online)
        return bool(survey.affected) and (survey.overdue_gateways > 0 or many)

    def _was_watched(self, survey: Survey) -> bool:
        return survey.now - survey.no_gap_since >= self.trust


def has_lost_messages(read: int, gone: int, silent_ms: float, ttl_ms: int) -> bool:
    """Whether a gateway's stream has lost messages that the gateway did not read.

    `read` is how many messages the gateway has read, and so deleted. `gone` is how many
    messages have left the stream. The gateway got the last message `silent_ms` ago. If
    a stream gets no message for `ttl_ms`, it expires, and nothing is lost.
    """
    has_expired = gone == 0 and silent_ms >= ttl_ms
    return gone != read and not has_expired


def has_settled(
    now: int, last_sweep: int | None, no_gap_since: int | None, epoch: int, ms: int
) -> bool:
    """Whether sweeps have run during the last `ms` without a gap, and without a loss of
    state in Redis. Times are ms of Redis's clock; None if no sweep has run."""
    if last_sweep is None or no_gap_since is None:
        return False
    return now - last_sweep < ms <= now - max(no_gap_since, epoch)


def is_silent(last_heartbeat: float, now: float, online_ttl: float) -> bool:
    """Whether a connection has been silent for too long. Times are monotonic
    seconds."""
    return now - last_heartbeat >= online_ttl


def is_expired(expires_at: float | None, now: float) -> bool:
    """Whether a token has expired. Times are seconds since the epoch. A token whose
    `expires_at` is None never expires."""
    return expires_at is not None and expires_at <= now


def age_ms(then: float, now: float, online_ttl: float) -> int:
    """How long ago `then` was, in whole milliseconds. A script subtracts it from
    Redis's clock. `then` and `now` are monotonic seconds. The result is never negative
    and always less than the TTL, so that no key gets a deadline in the past."""
    most = max(0, math.floor(online_ttl * 1000) - 1)
    return min(max(0, math.floor((now - then) * 1000)), most)


def retry_delay(failures: int, least: float = 0.05, most: float = 1.0) -> float:
    """Seconds to wait after `failures` failures in a row: doubling, capped, with jitter
    (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015)."""
    ceiling = min(most, least * 2 ** min(failures, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, hides nothing
