"""One shard: the presence state of a part of all users, which lies on one server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from config import Settings
from models.presence.gateways import GatewayStore
from models.presence.keys import Keys
from models.presence.outbox import Outbox
from models.presence.redis.backend import Link
from models.presence.store import PresenceStore


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard and its parts. Each shard is complete: it has its own outbox, its own
    drainer, its own sweeps, and knows every gateway by itself."""

    number: int
    store: PresenceStore
    outbox: Outbox
    gateways: GatewayStore

    @classmethod
    def open(cls, settings: Settings, link: Link, keys: Keys) -> Self:
        """Wire its parts from the settings."""
        return cls(
            number=link.shard,
            store=PresenceStore(
                link,
                keys,
                online_ttl=settings.online_ttl,
                offline_ttl=settings.offline_ttl,
                max_connections_per_user=settings.max_connections_per_user,
            ),
            outbox=Outbox(link, keys),
            gateways=GatewayStore(
                link,
                keys,
                online_ttl=settings.online_ttl,
                gateway_ttl=settings.gateway_ttl,
            ),
        )
