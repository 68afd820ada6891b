"""What the parts of one gateway process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.hub import Hub
from config import Settings
from models.presence import Presence


@dataclass(frozen=True, slots=True)
class Context:
    """One gateway: its id, its settings, the state in Redis and its sockets. `kick`
    asks for a drain of the outbox, and never waits."""

    gateway_id: str
    settings: Settings
    presence: Presence
    hub: Hub
    kick: Callable[[], None]
