"""What the parts of one gateway process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.counts import Counts
from app.gateway.hub import Hub
from app.gateway.trust import Trust
from config import Settings
from models.presence import Presence


@dataclass(frozen=True, slots=True)
class Context:
    """One gateway: its id, its settings, the state in Redis, whether that may be
    believed, its sockets, and what it has done. `kick` asks for a drain of the outbox;
    it never waits."""

    gateway_id: str
    settings: Settings
    presence: Presence
    hub: Hub
    trust: Trust
    counts: Counts
    kick: Callable[[], None]
