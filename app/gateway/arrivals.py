"""Makes new connections known to Redis, and opens them.

While one script call is under way the next connections gather, and go in one call
together: when a thousand clients come back at once, that is a few calls. When one comes
alone it does not wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from gevent.event import Event

from app.gateway.connection import Connection
from app.gateway.departures import Departures
from app.gateway.hub import Hub
from app.gateway.snapshots import Snapshots
from config import Settings
from models import events
from models.events import CloseCode
from models.presence import Presence, PresenceUnavailable
from models.presence.rules import age_ms
from models.presence.store import SCRIPT_BATCH, SignOfLife


class Arrivals:
    """The connections of one gateway process that are about to open."""

    def __init__(  # noqa: PLR0913 - what it ties together
        self,
        gateway_id: str,
        settings: Settings,
        presence: Presence,
        hub: Hub,
        departures: Departures,
        snapshots: Snapshots,
        *,
        on_kick: Callable[[], None],
    ) -> None:
        self._gateway_id = gateway_id
        self._settings = settings
        self._presence = presence
        self._hub = hub
        self._departures = departures
        self._snapshots = snapshots
        self._on_kick = on_kick
        self._waiting: deque[Connection] = deque()
        self._wake = Event()

    def add(self, connection: Connection) -> None:
        """`connection`, in the hub already, is to be opened. Never waits."""
        self._waiting.append(connection)
        self._wake.set()

    def step(self) -> None:
        """Wait for new connections, and open them.

        Raises:
            PresenceUnavailable: Redis is away; their clients are told to come back.
        """
        self._wake.wait()
        self._wake.clear()
        while self._waiting:
            size = min(len(self._waiting), SCRIPT_BATCH)
            self._open([self._waiting.popleft() for _ in range(size)])

    def _open(self, batch: list[Connection]) -> None:
        now = time.monotonic()
        try:
            reply = self._presence.store.connect(
                self._gateway_id, [self._sign(connection, now) for connection in batch]
            )
        except PresenceUnavailable:
            for connection in batch:
                connection.close(CloseCode.TOO_SLOW, "presence_unavailable")
            raise
        finally:
            # Who went meanwhile was released before Redis knew of him, or maybe not.
            for connection in batch:
                if self._hub.get(connection.connection_id) is None:
                    self._departures.add(connection)
        if reply.must_kick:
            self._on_kick()
        for connection in batch:
            if connection.connection_id in reply.refused:
                reason = "too many connections of this user"
                connection.close(CloseCode.TOO_MANY, reason)
            else:
                connection.open(self._welcome(connection))
        # Registered first, then read: every change is in the snapshot or comes later.
        self._snapshots.owe(batch)

    def _sign(self, connection: Connection, now: float) -> SignOfLife:
        age = age_ms(connection.last_heartbeat, now, self._settings.online_ttl)
        return SignOfLife(connection.user_id, connection.connection_id, age)

    def _welcome(self, connection: Connection) -> bytes:
        return events.welcome(
            connection.user_id,
            connection.connection_id,
            self._settings.heartbeat_interval,
            time.time_ns() // 1_000_000,
        )
