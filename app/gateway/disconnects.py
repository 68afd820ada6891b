"""Releases connections that ended, and expires their users when the grace is over.

The end of a socket is only noted in the session; this loop tells Redis. So a thousand
ends at once are a few script calls, and ends during an outage are reported after it.
"""

from __future__ import annotations

import heapq
import time

from app.gateway.shard_session import EndedConnection, ShardSession
from models.presence.batches import SCRIPT_BATCH, batches
from models.presence.rules import age_ms
from models.presence.store import Caller, ClosedConnection, ExpireReply

CLOCK_SLACK = 0.002
"""Seconds by which a script's whole milliseconds may be behind our clock."""
LOOK_AGAIN = 0.1
"""Seconds between two checks whether Redis can be trusted again."""
AFTER_HEARTBEAT = 0.01
"""Seconds until a call that a heartbeat has overtaken is repeated."""


class Disconnects:
    """The loop that reports the ended connections of one session. Monotonic seconds."""

    def __init__(self, session: ShardSession) -> None:
        self._session = session
        self._store = session.shard.store
        self._graces: list[tuple[float, str]] = []
        """When a grace ends, and whose: a heap."""

    def step(self) -> None:
        """Wait for an ended connection or the end of a grace, and tell Redis.

        Raises:
            PresenceUnavailable: Redis is down. What was to be told is kept.
        """
        if not self._session.ended:
            self._session.has_ended.wait(self._until_next())
        self._session.has_ended.clear()
        self.release()
        self.expire()

    def release(self) -> None:
        """Tell Redis of every end so far. A user who left without grace, and has no
        other connection here, is expired in the same call.

        Raises:
            PresenceUnavailable: Redis is down. What was to be told is kept.
        """
        ended = self._session.ended
        while ended:
            batch = [ended.popleft() for _ in range(min(len(ended), SCRIPT_BATCH))]
            now = time.monotonic()
            try:
                waiting = self._release(batch, now)
            except BaseException:
                ended.extendleft(reversed(batch))
                raise
            # Counted from the answer, so that it is never before Redis's own deadline.
            delay = time.monotonic() - now + CLOCK_SLACK
            for one in waiting:
                due_at = max(now, one.at + one.grace) + delay
                heapq.heappush(self._graces, (due_at, one.user_id))

    def _release(
        self, batch: list[EndedConnection], now: float
    ) -> list[EndedConnection]:
        """Tell Redis of `batch`. Returns those whose users are still to be expired."""
        session = self._session
        departures = [self._departure(ended, now) for ended in batch]
        gone = self._without_grace(batch) if session.health.is_trusted() else set()
        if not gone:
            self._store.release(session.gateway_id, departures)
            return batch
        reply = self._store.release_and_expire(self._caller(), departures, list(gone))
        if not self._has_checked_all(reply):
            return batch
        return [ended for ended in batch if ended.user_id not in gone]

    def _caller(self) -> Caller:
        return Caller(self._session.gateway_id, self._session.health.deadline)

    def _without_grace(self, batch: list[EndedConnection]) -> set[str]:
        """Users in `batch` who left without grace and have no connection here."""
        of_user = self._session.hub.of_user
        return {
            ended.user_id
            for ended in batch
            if not ended.grace and not of_user(ended.user_id)
        }

    def expire(self) -> None:
        """Expire users whose grace is over and who have no connection here.

        Raises:
            PresenceUnavailable: Redis is down. It is tried again.
        """
        session = self._session
        if not session.health.is_trusted():
            return
        now = time.monotonic()
        due: list[tuple[float, str]] = []
        while self._graces and self._graces[0][0] <= now:
            due.append(heapq.heappop(self._graces))
        user_ids = {user_id for _, user_id in due if not session.hub.of_user(user_id)}
        for batch in batches(user_ids):
            try:
                reply = self._store.expire(batch, self._caller())
            except BaseException:
                self._put_back(due)
                raise
            if not self._has_checked_all(reply):
                # The answer to the heartbeat that arrived first is on its way, or lost.
                self._put_back(due, AFTER_HEARTBEAT if reply.is_overtaken else 0.0)
                return

    def _has_checked_all(self, reply: ExpireReply) -> bool:
        """Act on `reply`. False: not all users were checked, so call `expire` again."""
        if reply.needs_drain:
            self._session.request_drain()
        if reply.is_refused:
            self._session.health.lost_state()
        return not (reply.is_refused or reply.is_overtaken)

    def _put_back(self, due: list[tuple[float, str]], delay: float = 0.0) -> None:
        again_at = time.monotonic() + delay
        for _, user_id in due:
            heapq.heappush(self._graces, (again_at, user_id))

    def _until_next(self) -> float | None:
        if not self._graces:
            return None
        least = 0.0 if self._session.health.is_trusted() else LOOK_AGAIN
        return max(least, self._graces[0][0] - time.monotonic())

    def _departure(self, ended: EndedConnection, now: float) -> ClosedConnection:
        return ClosedConnection(
            ended.user_id,
            ended.connection_id,
            grace_ms=int(ended.grace * 1000),
            age_ms=age_ms(ended.at, now, self._session.settings.online_ttl),
        )
