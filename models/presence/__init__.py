"""The presence state in Redis: who is online, through which connections, and the outbox
of transitions. Knows nothing of SQL, Flask or Celery."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from config import Settings
from models.presence.client import connect
from models.presence.errors import PresenceError, PresenceUnavailable
from models.presence.gateways import GatewayStore
from models.presence.keys import Keys
from models.presence.outbox import Outbox
from models.presence.overview import Overviews
from models.presence.store import PresenceStore
from models.presence.tickets import Tickets

__all__ = [
    "GatewayStore",
    "Keys",
    "Outbox",
    "Presence",
    "PresenceError",
    "PresenceStore",
    "PresenceUnavailable",
    "Tickets",
]


@dataclass(frozen=True, slots=True)
class Presence:
    """All of one shard's presence state, through one Redis client."""

    store: PresenceStore
    outbox: Outbox
    gateways: GatewayStore
    tickets: Tickets
    overviews: Overviews

    @classmethod
    def open(
        cls,
        settings: Settings,
        keys: Keys | None = None,
        client: redis.Redis | None = None,
    ) -> Presence:
        """Wire the parts from the settings. Connects on first use."""
        keys = keys or Keys()
        client = client or connect(settings)
        return cls(
            store=PresenceStore(
                client,
                keys,
                online_ttl=settings.online_ttl,
                offline_ttl=settings.offline_ttl,
                max_connections_per_user=settings.max_connections_per_user,
            ),
            outbox=Outbox(client, keys),
            gateways=GatewayStore(
                client,
                keys,
                online_ttl=settings.online_ttl,
                gateway_ttl=settings.gateway_ttl,
            ),
            tickets=Tickets(client, keys),
            overviews=Overviews(client, keys),
        )
