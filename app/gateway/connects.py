"""Registers new connections in Redis, and opens them.

While one script call is running, new connections gather, and the next call takes them
together. So a thousand clients that return at once need only a few calls. A connection
that comes alone does not wait.
"""

from __future__ import annotations

import time

from app.gateway.client_connection import ClientConnection
from app.gateway.shard_session import ShardSession
from app.gateway.snapshots import Snapshots
from models import events
from models.events import CloseCode
from models.presence.batches import CONNECT_BATCH


class Connects:
    """The loop that opens the new connections of one session."""

    def __init__(self, session: ShardSession, snapshots: Snapshots) -> None:
        self._session = session
        self._snapshots = snapshots

    def step(self) -> None:
        """Wait for new connections, and open them.

        Raises:
            PresenceUnavailable: Redis is down. The new connections are closed with a
                code that lets their clients retry.
        """
        session = self._session
        if not session.opening:
            session.has_opening.wait()
        session.has_opening.clear()
        while session.opening:
            size = min(len(session.opening), CONNECT_BATCH)
            self._open([session.opening.popleft() for _ in range(size)])

    def _open(self, batch: list[ClientConnection]) -> None:
        try:
            self._session.register(batch)
        except Exception:
            for connection in batch:
                connection.close(CloseCode.TRY_AGAIN_LATER, "presence_unavailable")
            raise
        settings = self._session.settings
        for connection in batch:
            connection.open(
                events.welcome(
                    connection.user_id,
                    connection.connection_id,
                    settings.heartbeat_interval,
                    time.time_ns() // 1_000_000,
                    settings.idle_after if connection.wants_detail else None,
                )
            )
            connection.warn_of_expiry(time.time())
        # Only now, after the registration: so each change is in the snapshot, or its
        # event comes later.
        self._snapshots.request_first(batch)
