"""Gathers this process's heartbeats: one script call per flush for all of them.

The same call keeps the gateway itself alive, and tells whether Redis still knows it and
its connections. What Redis does not know is registered anew: that is how the state is
rebuilt after Redis came back empty, and how a stalled gateway comes back to life.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent

from app.gateway.connection import Connection
from app.gateway.hub import Hub
from config import Settings
from models.events import CloseCode
from models.presence import Presence
from models.presence.rules import age_ms, is_expired, is_silent
from models.presence.store import SignOfLife

log = logging.getLogger(__name__)


class Heartbeats:
    """The heartbeats of one gateway process."""

    def __init__(
        self,
        gateway_id: str,
        settings: Settings,
        presence: Presence,
        hub: Hub,
        *,
        on_kick: Callable[[], None],
        on_lapse: Callable[[], None],
    ) -> None:
        self._gateway_id = gateway_id
        self._online_ttl = settings.online_ttl
        self._interval = settings.flush_interval
        self._presence = presence
        self._hub = hub
        self._on_kick = on_kick
        self._on_lapse = on_lapse
        self._pending: dict[str, Connection] = {}
        self._deadline = 0
        self._must_register = False

    def note(self, connection: Connection) -> None:
        """A heartbeat came; the next flush takes it along."""
        self._pending[connection.connection_id] = connection

    def forget(self, connection: Connection) -> None:
        """The connection has ended: a heartbeat of it must not be flushed any more."""
        self._pending.pop(connection.connection_id, None)

    def step(self) -> None:
        """Wait for the interval, close who fell silent, and flush."""
        gevent.sleep(self._interval)
        self.close_overdue()
        self.flush()

    def flush(self) -> None:
        """Tell Redis of every heartbeat since the last flush.

        Raises:
            PresenceUnavailable: Redis is away; the heartbeats are kept.
        """
        pending, self._pending = self._pending, {}
        try:
            reply = self._presence.gateways.heartbeat(
                self._gateway_id, self._signs(pending.values()), self._deadline
            )
        except BaseException:
            for connection_id in pending.keys() - self._pending.keys():
                if self._hub.get(connection_id) is not None:
                    self._pending[connection_id] = pending[connection_id]
            raise
        self._deadline = reply.deadline
        self._must_register |= reply.lapsed
        if self._must_register:
            # After a stall, sockets may have ended without our having read it yet.
            gevent.sleep(0.01)
            connections = self._hub.connections()
            self.register(connections)
            # Only now: if Redis went away again meanwhile, it is all still to be done.
            self._must_register = False
            if connections:
                self._on_lapse()
        elif reply.gone:
            found = (self._hub.get(sign.connection_id) for sign in reply.gone)
            self.register([connection for connection in found if connection])

    def register(self, connections: Iterable[Connection]) -> None:
        """Make live connections known to Redis that does not know them."""
        live = [connection for connection in connections if not connection.is_closing]
        if not live:
            return
        log.warning("registering %d connections anew", len(live))
        reply = self._presence.store.connect(self._gateway_id, self._signs(live))
        if reply.must_kick:
            self._on_kick()

    def close_overdue(self) -> None:
        """Close the connections whose heartbeats stopped or whose token expired."""
        now, wall = time.monotonic(), time.time()
        for connection in self._hub.connections():
            if connection.is_closing:
                continue
            if is_silent(connection.last_heartbeat, now, self._online_ttl):
                connection.has_left = True  # it had its time: no grace on top
                connection.close(CloseCode.HEARTBEATS_STOPPED, "no heartbeat")
            elif is_expired(connection.expires_at, wall):
                connection.close(CloseCode.NOT_AUTHENTICATED, "the token has expired")

    def _signs(self, connections: Iterable[Connection]) -> list[SignOfLife]:
        now = time.monotonic()
        return [
            SignOfLife(
                connection.user_id,
                connection.connection_id,
                age_ms(connection.last_heartbeat, now, self._online_ttl),
            )
            for connection in connections
        ]
