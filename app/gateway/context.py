"""What the parts of one gateway process share, and those of one of its lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.counts import Counts
from app.gateway.hub import Hub
from app.gateway.redis_health import Trust
from config import Settings
from models.presence import Presence, Shard


@dataclass(frozen=True, slots=True)
class Context:
    """One gateway: its id, its settings, the state in Redis, its sockets, and what it
    has done."""

    gateway_id: str
    settings: Settings
    presence: Presence
    hub: Hub
    counts: Counts


@dataclass(frozen=True, slots=True)
class LaneContext(Context):
    """One gateway and one shard, and whether what that shard says may be believed.
    `kick` asks for a drain of the shard's outbox; it never waits."""

    shard: Shard
    trust: Trust
    kick: Callable[[], None]
