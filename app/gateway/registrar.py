"""Makes connections of this gateway known to Redis: new ones, and lost ones anew."""

from __future__ import annotations

import time
from collections.abc import Sequence

from app.gateway.context import LaneContext
from app.gateway.disconnects import Departures
from app.websocket.connection import Connection
from models.events import CloseCode
from models.presence.rules import age_ms
from models.presence.store import LiveConnection


class Registrar:
    """The one place from which a gateway calls `connect`."""

    def __init__(self, context: LaneContext, departures: Departures) -> None:
        self._context = context
        self._departures = departures

    def register(self, connections: Sequence[Connection]) -> None:
        """Register `connections`; closes those whose user has too many, or
        whose state in Redis somebody has damaged.

        Raises:
            PresenceUnavailable: Redis did not answer; any of them may be registered.
        """
        context = self._context
        try:
            reply = context.shard.store.connect(
                context.gateway_id, self.signs(connections)
            )
        finally:
            # Who ended meanwhile was released, maybe before Redis knew of him.
            for connection in connections:
                if context.hub.get(connection.connection_id) is None:
                    self._departures.add(connection)
        if reply.needs_drain:
            context.kick()
        for connection in connections:
            if connection.connection_id in reply.refused:
                reason = "too many connections of this user"
                connection.close(CloseCode.TOO_MANY, reason)
            elif connection.connection_id in reply.failed:
                connection.close(CloseCode.TOO_SLOW, "presence_unavailable")

    def signs(self, connections: Sequence[Connection]) -> list[LiveConnection]:
        """The last signs of life of `connections`, as old as they are now."""
        now, ttl = time.monotonic(), self._context.settings.online_ttl
        return [
            LiveConnection(
                connection.user_id,
                connection.connection_id,
                age_ms(connection.last_heartbeat, now, ttl),
            )
            for connection in connections
        ]
