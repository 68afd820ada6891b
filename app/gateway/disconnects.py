"""Releases connections that ended, and expires their users when the grace is over.

The end of a socket is only noted; a loop tells Redis. So a burst of a thousand ends is
a few script calls, and ends while Redis is away are made good on its return.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass

from gevent.event import Event

from app.gateway.context import LaneContext
from app.websocket.connection import Connection
from models.presence.batches import SCRIPT_BATCH, batches
from models.presence.rules import age_ms
from models.presence.store import Caller, ClosedConnection

CLOCK_SLACK = 0.002
"""Seconds by which a script's whole milliseconds may be behind our clock."""
LOOK_AGAIN = 0.1
"""Seconds between two looks at whether Redis may be believed again."""


@dataclass(frozen=True, slots=True)
class _Ended:
    user_id: str
    connection_id: str
    at: float
    grace: float


class Departures:
    """The connections of one lane that have ended. Monotonic seconds."""

    def __init__(self, context: LaneContext) -> None:
        self._context = context
        self._store = context.shard.store
        self._grace = context.settings.disconnect_grace
        self._ended: deque[_Ended] = deque()
        self._lapsing: list[tuple[float, str]] = []
        self._wake = Event()

    def add(self, connection: Connection) -> None:
        """`connection` has ended now. Never waits, never fails."""
        self._ended.append(
            _Ended(
                connection.user_id,
                connection.connection_id,
                time.monotonic(),
                0.0 if connection.has_left else self._grace,
            )
        )
        self._wake.set()

    def step(self) -> None:
        """Wait for an end or for the end of a grace, and tell Redis.

        Raises:
            PresenceUnavailable: Redis is away; what was to be told is kept.
        """
        if not self._ended:
            self._wake.wait(self._until_next())
        self._wake.clear()
        self.release()
        self.expire()

    def release(self) -> None:
        """Tell Redis of every end so far. Who left without grace, and has no other
        socket here, is expired with the same call."""
        while self._ended:
            batch = [
                self._ended.popleft()
                for _ in range(min(len(self._ended), SCRIPT_BATCH))
            ]
            now = time.monotonic()
            try:
                waiting = self._release(batch, now)
            except BaseException:
                self._ended.extendleft(reversed(batch))
                raise
            # Counted from the answer, so that it never comes before Redis's deadline.
            delay = time.monotonic() - now + CLOCK_SLACK
            for ended in waiting:
                due_at = max(now, ended.at + ended.grace) + delay
                heapq.heappush(self._lapsing, (due_at, ended.user_id))

    def _release(self, batch: list[_Ended], now: float) -> list[_Ended]:
        """Tell Redis of the ends in `batch`. Returns those of whom it is still to be
        seen whether they are offline."""
        departures = [self._departure(ended, now) for ended in batch]
        at_once = self._who_left(batch) if self._context.trust.is_given() else set()
        if not at_once:
            self._store.release(self._context.gateway_id, departures)
            return batch
        reply = self._store.release_and_expire(
            self._caller(), departures, list(at_once)
        )
        if reply.needs_drain:
            self._context.kick()
        if reply.is_refused:
            self._context.trust.lost()
        if reply.is_refused or reply.is_overtaken:
            return batch
        return [ended for ended in batch if ended.user_id not in at_once]

    def _caller(self) -> Caller:
        return Caller(self._context.gateway_id, self._context.trust.deadline)

    def _who_left(self, batch: list[_Ended]) -> set[str]:
        of_user = self._context.hub.of_user
        return {
            ended.user_id
            for ended in batch
            if not ended.grace and not of_user(ended.user_id)
        }

    def expire(self) -> None:
        """Expire the users whose grace is over and who have no socket here."""
        if not self._context.trust.is_given():
            return
        now = time.monotonic()
        due: list[tuple[float, str]] = []
        while self._lapsing and self._lapsing[0][0] <= now:
            due.append(heapq.heappop(self._lapsing))
        user_ids = {
            user_id for _, user_id in due if not self._context.hub.of_user(user_id)
        }
        for batch in batches(user_ids):
            try:
                reply = self._store.expire(batch, self._caller())
            except BaseException:
                self._look_again(due)
                raise
            if reply.needs_drain:
                self._context.kick()
            if reply.is_refused:
                self._context.trust.lost()
            if reply.is_refused or reply.is_overtaken:
                self._look_again(due)
                return

    def _look_again(self, due: list[tuple[float, str]]) -> None:
        for entry in due:
            heapq.heappush(self._lapsing, entry)

    def _until_next(self) -> float | None:
        if not self._lapsing:
            return None
        least = 0.0 if self._context.trust.is_given() else LOOK_AGAIN
        return max(least, self._lapsing[0][0] - time.monotonic())

    def _departure(self, ended: _Ended, now: float) -> ClosedConnection:
        return ClosedConnection(
            ended.user_id,
            ended.connection_id,
            grace_ms=int(ended.grace * 1000),
            age_ms=age_ms(ended.at, now, self._context.settings.online_ttl),
        )
