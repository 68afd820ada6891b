"""Releases closed connections in Redis, and expires their users when the grace is over.

The session only notes a disconnect, and this loop reports it to Redis. So a thousand
disconnects at once need only a few script calls. Disconnects during an outage are
reported after it.
"""

from __future__ import annotations

import heapq
import time

from app.gateway.shard_session import Disconnect, ShardSession
from models.batches import batches
from models.presence.batches import SCRIPT_BATCH
from models.presence.rules import age_ms
from models.presence.store import Caller, ClosedConnection, ExpireReply

CLOCK_SLACK = 0.002
"""Seconds added to the grace. Scripts use whole milliseconds, so a deadline in Redis
may be a little later than it is here."""
TRUST_CHECK_EVERY = 0.1
"""Seconds between two checks whether Redis can be trusted again."""
AFTER_HEARTBEAT = 0.01
"""Seconds to wait before `expire` is called again, if a heartbeat reached Redis before
the first call."""


class Disconnects:
    """The loop that reports the disconnects of one session. All times are monotonic
    seconds."""

    def __init__(self, session: ShardSession) -> None:
        self._session = session
        self._store = session.shard.store
        self._graces: list[tuple[float, str, str]] = []
        """A heap: the time at which a grace ends, the id of its user, and what has
        opened the connection."""

    def step(self) -> None:
        """Wait for a disconnect or the end of a grace, and report it to Redis.

        Raises:
            PresenceUnavailable: Redis is down. The next step repeats the report.
        """
        if not self._session.disconnected:
            self._session.has_disconnected.wait(self._until_next())
        self._session.has_disconnected.clear()
        self.release()
        self.expire()

    def release(self) -> None:
        """Report all disconnects so far. If a user left without grace and has no other
        connection here, the same round trip expires the user.

        Raises:
            PresenceUnavailable: Redis is down. The next call repeats the report.
        """
        queue = self._session.disconnected
        while queue:
            batch = [queue.popleft() for _ in range(min(len(queue), SCRIPT_BATCH))]
            now = time.monotonic()
            try:
                to_expire = self._release(batch, now)
            except BaseException:
                queue.extendleft(reversed(batch))
                raise
            # The script runs at some moment during the call, and its deadline counts
            # from there. Add the whole time of the call, so that `expire` does not come
            # too early.
            delay = time.monotonic() - now + CLOCK_SLACK
            for one in to_expire:
                due_at = max(now, one.at + one.grace) + delay
                heapq.heappush(self._graces, (due_at, one.user_id, one.cause))

    def _release(self, batch: list[Disconnect], now: float) -> list[Disconnect]:
        """Release the connections of `batch`. Returns the disconnects whose users must
        still be expired later."""
        session = self._session
        closed = [self._closed_connection(one, now) for one in batch]
        left = self._users_who_left(batch) if session.health.is_trusted() else {}
        if not left:
            self._store.release(session.gateway_id, closed)
            return batch
        reply = self._store.release_and_expire(self._caller(), closed, list(left), left)
        if not self._handle_reply(reply):
            return batch
        return [one for one in batch if one.user_id not in left]

    def _caller(self) -> Caller:
        return Caller(self._session.gateway_id, self._session.health.deadline)

    def _users_who_left(self, batch: list[Disconnect]) -> dict[str, str]:
        """Users in `batch` who left without grace and have no connection here, and what
        had opened their connections."""
        of_user = self._session.hub.of_user
        return {
            one.user_id: one.cause
            for one in batch
            if not one.grace and not of_user(one.user_id)
        }

    def expire(self) -> None:
        """Expire users whose grace is over and who have no connection here. If all
        connections that a user has here are idle, the same call notices that the user
        is idle now.

        Raises:
            PresenceUnavailable: Redis is down. The next call expires the same users.
        """
        session = self._session
        if not session.health.is_trusted():
            return
        now = time.monotonic()
        due: list[tuple[float, str, str]] = []
        while self._graces and self._graces[0][0] <= now:
            due.append(heapq.heappop(self._graces))
        of_user = session.hub.of_user
        caused_by = {
            user_id: cause
            for _, user_id, cause in due
            if all(one.is_idle for one in of_user(user_id))
        }
        for batch in batches(caused_by, SCRIPT_BATCH):
            try:
                reply = self._store.expire(batch, self._caller(), caused_by)
            except BaseException:
                self._put_back(due)
                raise
            if not self._handle_reply(reply):
                # If a heartbeat has overtaken this call, wait until the reply to that
                # heartbeat is here. The next call must send the deadline in that reply.
                self._put_back(due, AFTER_HEARTBEAT if reply.is_overtaken else 0.0)
                return

    def _handle_reply(self, reply: ExpireReply) -> bool:
        """Act on `reply`. Returns False if some users were not checked: then call
        `expire` again."""
        if reply.needs_drain:
            self._session.request_drain()
        if reply.is_refused:
            self._session.health.lost_state()
        return not (reply.is_refused or reply.is_overtaken)

    def _put_back(self, due: list[tuple[float, str, str]], delay: float = 0.0) -> None:
        again_at = time.monotonic() + delay
        for _, user_id, cause in due:
            heapq.heappush(self._graces, (again_at, user_id, cause))

    def _until_next(self) -> float | None:
        if not self._graces:
            return None
        least = 0.0 if self._session.health.is_trusted() else TRUST_CHECK_EVERY
        return max(least, self._graces[0][0] - time.monotonic())

    def _closed_connection(
        self, disconnect: Disconnect, now: float
    ) -> ClosedConnection:
        return ClosedConnection(
            disconnect.user_id,
            disconnect.connection_id,
            grace_ms=int(disconnect.grace * 1000),
            age_ms=age_ms(disconnect.at, now, self._session.settings.online_ttl),
        )
