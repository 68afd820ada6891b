"""Reports a session's heartbeats to Redis: all of them in each flush.

A flush also moves the deadline of the gateway itself. The reply says whether Redis
still knows the gateway and its connections. What Redis does not know is registered
again. In this way the state is rebuilt after Redis came back empty, and a stalled
gateway recovers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent

from app.gateway.client_connection import ClientConnection
from app.gateway.shard_session import ShardSession
from app.gateway.snapshots import Snapshots
from app.tokens import EXPIRED
from models.events import CloseCode
from models.presence.rules import is_expired, is_silent

log = logging.getLogger(__name__)

CLOCK_SLACK_MS = 100
"""Between two flushes the clock of Redis may fall behind ours by this many
milliseconds, plus a thousandth of the time between them. If it falls behind further, it
was set back."""
STOOD_STILL = 1.0
"""If a sleep takes this many seconds too long, the process or its machine stood still.
The heartbeats of that time still wait in the sockets. Read them before any connection
is closed as silent."""


class Heartbeats:
    """The loop that reports heartbeats and closes silent connections.

    After a loss in the shard, `on_loss` is called with the shard's number and its time
    (ms). If the shard's clock was set back, `on_clock_set_back` is called with its time
    (ms).
    """

    def __init__(
        self,
        session: ShardSession,
        snapshots: Snapshots,
        on_loss: Callable[[int, int], None],
        on_clock_set_back: Callable[[int], None],
    ) -> None:
        self._session = session
        self._snapshots = snapshots
        self._on_loss = on_loss
        self._on_clock_set_back = on_clock_set_back
        self._must_register = False
        self._stood_still = False
        self._clock = (0, 0.0)
        """Redis's time (ms) in the last reply, and the monotonic time at which that
        reply came."""

    def step(self) -> None:
        """Wait for the interval, close silent connections, and flush."""
        interval = self._session.settings.flush_interval
        began = time.monotonic()
        gevent.sleep(interval)
        stood_still = time.monotonic() - began > interval + STOOD_STILL
        # Skipped only once: a process that is always late must close them too.
        if not stood_still or self._stood_still:
            self._close_overdue()
        self._stood_still = stood_still
        self.flush()

    def flush(self) -> None:
        """Report every heartbeat since the last flush.

        Raises:
            PresenceUnavailable: Redis is down. The heartbeats are kept.
        """
        session, health = self._session, self._session.health
        sent_at = time.monotonic()
        pending, session.pending_heartbeats = session.pending_heartbeats, {}
        try:
            reply = session.shard.gateways.heartbeat(
                session.gateway_id,
                session.as_live(list(pending.values())),
                health.deadline,
                connections=len(session.live),
            )
        except BaseException:
            session.put_back(session.pending_heartbeats, pending)
            raise
        if reply.lapsed and health.deadline:  # the very first one is not a loss
            health.lost_state()
        health.answered(reply.deadline)
        if reply.lapsed:
            session.clock.was_set()
        elif self._is_set_back(reply.now, sent_at):
            session.clock.was_set()
            log.warning(
                "the clock of Redis was set back: all clients get a fresh snapshot"
            )
            self._on_clock_set_back(reply.now)
        session.clock.answered(reply.now)
        self._must_register |= reply.lapsed
        if self._must_register:
            self._register_all(reply.now)
        elif reply.gone:
            found = (session.hub.get(one.connection_id) for one in reply.gone)
            lost = [connection for connection in found if connection]
            try:
                self._register(lost)
            finally:
                # They may have missed events: a fan-out finds connections in Redis.
                self._snapshots.request(lost)

    def _is_set_back(self, now: int, sent_at: float) -> bool:
        """Whether the clock of Redis, now at `now` (ms), was set back since the last
        flush. This flush was sent at `sent_at` (monotonic seconds)."""
        before, answered_at = self._clock
        self._clock = now, time.monotonic()
        passed_ms = (sent_at - answered_at) * 1000
        return now < before + passed_ms * 0.999 - CLOCK_SLACK_MS

    def _register_all(self, now: int) -> None:
        """The shard, whose time is `now` (ms), had lost this gateway. Register all its
        connections."""
        # After a stall, sockets may have ended, and we have not read that yet.
        gevent.sleep(0.01)
        connections = list(self._session.live.values())
        self._register(connections)
        # Clear this only now: if `_register` fails, the next flush must do all of it.
        self._must_register = False
        if connections:
            self._session.counts.lapses += 1
            self._on_loss(self._session.shard.number, now)

    def _register(self, connections: Iterable[ClientConnection]) -> None:
        live = [connection for connection in connections if not connection.is_closing]
        if live:
            log.warning(
                "registering %d connections again, which Redis had lost", len(live)
            )
            self._session.register(live)
            self._session.counts.registered_anew += len(live)

    def _close_overdue(self) -> None:
        """Close connections whose heartbeats stopped or whose token expired. Tell
        clients whose token expires soon."""
        now, wall = time.monotonic(), time.time()
        ttl = self._session.settings.online_ttl
        for connection in list(self._session.live.values()):
            if connection.is_closing:
                continue
            if is_silent(connection.last_heartbeat, now, ttl):
                connection.has_left = True  # it had the whole TTL, so it gets no grace
                connection.close(CloseCode.HEARTBEATS_STOPPED, "no heartbeat")
            elif is_expired(connection.expires_at, wall):
                connection.close(CloseCode.NOT_AUTHENTICATED, EXPIRED)
            else:
                connection.warn_of_expiry(wall)
