"""Gathers a lane's heartbeats: one script call per flush for all of them.

The same call keeps the gateway itself alive, and tells whether Redis still knows it and
its connections. What Redis does not know is registered anew: that is how the state is
rebuilt after Redis came back empty, and how a stalled gateway comes back to life.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent

from app.gateway.context import LaneContext
from app.gateway.registrar import Registrar
from app.gateway.snapshots import Snapshots
from app.websocket.connection import Connection
from models.events import CloseCode
from models.presence.rules import is_expired, is_silent

log = logging.getLogger(__name__)

CLOCK_SLACK_MS = 100
"""Milliseconds by which the clock of Redis may fall behind ours between two flushes,
beside a thousandth of the time that has passed, before it counts as set back."""
STOOD_STILL = 1.0
"""Seconds by which a wait that is too long says that the process, or its machine, stood
still: the heartbeats of that time lie in the sockets, and are read first."""


class Heartbeats:
    """The heartbeats of one lane, and the connections from which they come."""

    def __init__(
        self,
        context: LaneContext,
        registrar: Registrar,
        snapshots: Snapshots,
        on_lapse: Callable[[int, int], None],
        on_clock_set_back: Callable[[int], None],
    ) -> None:
        self._context = context
        self._registrar = registrar
        self._snapshots = snapshots
        self._on_lapse = on_lapse
        self._on_clock_set_back = on_clock_set_back
        self._watched: dict[str, Connection] = {}
        self._pending: dict[str, Connection] = {}
        self._must_register = False
        self._stood_still = False
        self._clock = (0, 0.0)  # Redis's time (ms) as it was answered, and when

    def watch(self, connection: Connection) -> None:
        """From now on `connection` must not fall silent, nor be lost by Redis."""
        self._watched[connection.connection_id] = connection

    def note(self, connection: Connection) -> None:
        """A heartbeat came; the next flush takes it along."""
        self._pending[connection.connection_id] = connection

    def forget(self, connection: Connection) -> None:
        """The connection has ended: a heartbeat of it must not be flushed any more."""
        self._watched.pop(connection.connection_id, None)
        self._pending.pop(connection.connection_id, None)

    def step(self) -> None:
        """Wait for the interval, close who fell silent, and flush."""
        interval = self._context.settings.flush_interval
        began = time.monotonic()
        gevent.sleep(interval)
        stood_still = time.monotonic() - began > interval + STOOD_STILL
        # Once only: a process that is late all the time has to close them too.
        if not stood_still or self._stood_still:
            self.close_overdue()
        self._stood_still = stood_still
        self.flush()

    def flush(self) -> None:
        """Tell Redis of every heartbeat since the last flush.

        Raises:
            PresenceUnavailable: Redis is away; the heartbeats are kept.
        """
        trust = self._context.trust
        sent_at = time.monotonic()
        pending, self._pending = self._pending, {}
        try:
            reply = self._context.shard.gateways.heartbeat(
                self._context.gateway_id,
                self._registrar.signs(list(pending.values())),
                trust.deadline,
            )
        except BaseException:
            for connection_id in pending.keys() - self._pending.keys():
                if self._context.hub.get(connection_id) is not None:
                    self._pending[connection_id] = pending[connection_id]
            raise
        if reply.lapsed and trust.deadline:  # the first one of all is no loss
            trust.lost()
        trust.answered(reply.deadline)
        if not reply.lapsed and self._is_set_back(reply.now, sent_at):
            log.warning("the clock of Redis was set back: all get a fresh snapshot")
            self._on_clock_set_back(reply.now)
        self._must_register |= reply.lapsed
        if self._must_register:
            # After a stall, sockets may have ended without our having read it yet.
            gevent.sleep(0.01)
            connections = list(self._watched.values())
            self._register(connections)
            # Only now: if Redis went away again meanwhile, it is all still to be done.
            self._must_register = False
            if connections:
                self._context.counts.lapses += 1
                self._on_lapse(self._context.shard.number, reply.now)
        elif reply.gone:
            found = (self._context.hub.get(sign.connection_id) for sign in reply.gone)
            gone = [connection for connection in found if connection]
            try:
                self._register(gone)
            finally:
                # Nobody could tell them anything meanwhile: Redis did not know where.
                self._snapshots.owe(gone)

    def _is_set_back(self, now: int, sent_at: float) -> bool:
        """Whether the clock of Redis, where it is `now` (ms), was set back since the
        last flush. This one was sent at `sent_at` (monotonic seconds)."""
        before, answered_at = self._clock
        self._clock = now, time.monotonic()
        passed_ms = (sent_at - answered_at) * 1000
        return now < before + passed_ms * 0.999 - CLOCK_SLACK_MS

    def _register(self, connections: Iterable[Connection]) -> None:
        live = [connection for connection in connections if not connection.is_closing]
        if live:
            log.warning("registering %d connections anew", len(live))
            self._registrar.register(live)
            self._context.counts.registered_anew += len(live)

    def close_overdue(self) -> None:
        """Close the connections whose heartbeats stopped or whose token expired."""
        now, wall = time.monotonic(), time.time()
        ttl = self._context.settings.online_ttl
        for connection in list(self._watched.values()):
            if connection.is_closing:
                continue
            if is_silent(connection.last_heartbeat, now, ttl):
                connection.has_left = True  # it had its time: no grace on top
                connection.close(CloseCode.HEARTBEATS_STOPPED, "no heartbeat")
            elif is_expired(connection.expires_at, wall):
                connection.close(CloseCode.NOT_AUTHENTICATED, "the token has expired")
