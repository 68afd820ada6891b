"""Makes new connections known to Redis, and opens them.

While one script call is under way the next connections gather, and go in one call
together: when a thousand clients come back at once, that is a few calls. When one comes
alone it does not wait.
"""

from __future__ import annotations

import time
from collections import deque

from gevent.event import Event

from app.gateway.context import LaneContext
from app.gateway.registrar import Registrar
from app.gateway.snapshots import Snapshots
from app.websocket.connection import Connection
from models import events
from models.events import CloseCode
from models.presence.batches import CONNECT_BATCH


class Arrivals:
    """The connections of one lane that are about to open."""

    def __init__(
        self, context: LaneContext, registrar: Registrar, snapshots: Snapshots
    ) -> None:
        self._context = context
        self._registrar = registrar
        self._snapshots = snapshots
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
        if not self._waiting:
            self._wake.wait()
        self._wake.clear()
        while self._waiting:
            size = min(len(self._waiting), CONNECT_BATCH)
            self._open([self._waiting.popleft() for _ in range(size)])

    def _open(self, batch: list[Connection]) -> None:
        try:
            self._registrar.register(batch)
        except Exception:
            for connection in batch:
                connection.close(CloseCode.TOO_SLOW, "presence_unavailable")
            raise
        for connection in batch:
            connection.open(
                events.welcome(
                    connection.user_id,
                    connection.connection_id,
                    self._context.settings.heartbeat_interval,
                    time.time_ns() // 1_000_000,
                )
            )
        # Registered first, then read: every change is in the snapshot or comes later.
        self._snapshots.owe_first(batch)
