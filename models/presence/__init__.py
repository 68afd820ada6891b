"""The presence state in Redis: who is online, through which connections, and the outbox
of transitions. Knows nothing of SQL, Flask or Celery."""

from __future__ import annotations

from models.presence.errors import CommandRefused, PresenceError, PresenceUnavailable
from models.presence.keys import Keys
from models.presence.presence import Overview, Presence, Shard

__all__ = [
    "CommandRefused",
    "Keys",
    "Overview",
    "Presence",
    "PresenceError",
    "PresenceUnavailable",
    "Shard",
]
