"""Reports a session's heartbeats: one script call per flush for all of them.

The same call keeps the gateway itself alive, and says whether Redis still knows the
gateway and its connections. What Redis does not know is registered again. This is how
the state is rebuilt after Redis came back empty, and how a stalled gateway recovers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent

from app.gateway.client_connection import ClientConnection
from app.gateway.shard_session import ShardSession
from app.gateway.snapshots import Snapshots
from models.events import CloseCode
from models.presence.rules import is_expired, is_silent

log = logging.getLogger(__name__)

CLOCK_SLACK_MS = 100
"""Milliseconds by which the clock of Redis may fall behind ours between two flushes,
plus a thousandth of the time between them. If it falls behind more, it was set back."""
STOOD_STILL = 1.0
"""A sleep that takes this many seconds too long means that the process or its machine
stood still. The heartbeats of that time wait in the sockets, and are read first."""


class Heartbeats:
    """The loop that reports heartbeats and closes silent connections.

    `on_loss` is called after a loss in the shard, with the shard's number and its time
    (ms); `on_clock_set_back` with its time (ms).
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
        self._clock = (0, 0.0)  # Redis's time (ms) in its last answer, and when it came

    def step(self) -> None:
        """Wait for the interval, close silent connections, and flush."""
        interval = self._session.settings.flush_interval
        began = time.monotonic()
        gevent.sleep(interval)
        stood_still = time.monotonic() - began > interval + STOOD_STILL
        # Skipped once only: a process that is always late has to close them too.
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
                session.signs(list(pending.values())),
                health.deadline,
            )
        except BaseException:
            for connection_id in pending.keys() - session.pending_heartbeats.keys():
                if session.hub.get(connection_id) is not None:
                    session.pending_heartbeats[connection_id] = pending[connection_id]
            raise
        if reply.lapsed and health.deadline:  # the very first one is not a loss
            health.lost_state()
        health.answered(reply.deadline)
        if not reply.lapsed and self._is_set_back(reply.now, sent_at):
            log.warning(
                "the clock of Redis was set back: all clients get a fresh snapshot"
            )
            self._on_clock_set_back(reply.now)
        self._must_register |= reply.lapsed
        if self._must_register:
            self._register_all(reply.now)
        elif reply.gone:
            found = (session.hub.get(sign.connection_id) for sign in reply.gone)
            gone = [connection for connection in found if connection]
            try:
                self._register(gone)
            finally:
                # Fan-outs did not reach them: Redis did not know where they were.
                self._snapshots.request(gone)

    def _is_set_back(self, now: int, sent_at: float) -> bool:
        """Whether the clock of Redis, now at `now` (ms), was set back since the last
        flush. This flush was sent at `sent_at` (monotonic seconds)."""
        before, answered_at = self._clock
        self._clock = now, time.monotonic()
        passed_ms = (sent_at - answered_at) * 1000
        return now < before + passed_ms * 0.999 - CLOCK_SLACK_MS

    def _register_all(self, now: int) -> None:
        """The shard, whose time is `now` (ms), had lost this gateway."""
        # After a stall, sockets may have ended without our having read it yet.
        gevent.sleep(0.01)
        connections = list(self._session.live.values())
        self._register(connections)
        # Only now: if Redis went down again meanwhile, everything is still to be done.
        self._must_register = False
        if connections:
            self._session.counts.lapses += 1
            self._on_loss(self._session.shard.number, now)

    def _register(self, connections: Iterable[ClientConnection]) -> None:
        live = [connection for connection in connections if not connection.is_closing]
        if live:
            log.warning(
                "registering %d connections again, Redis had lost them", len(live)
            )
            self._session.register(live)
            self._session.counts.registered_anew += len(live)

    def _close_overdue(self) -> None:
        """Close connections whose heartbeats stopped or whose token expired."""
        now, wall = time.monotonic(), time.time()
        ttl = self._session.settings.online_ttl
        for connection in list(self._session.live.values()):
            if connection.is_closing:
                continue
            if is_silent(connection.last_heartbeat, now, ttl):
                connection.has_left = True  # it had the whole TTL: no grace on top
                connection.close(CloseCode.HEARTBEATS_STOPPED, "no heartbeat")
            elif is_expired(connection.expires_at, wall):
                connection.close(CloseCode.NOT_AUTHENTICATED, "the token has expired")
