"""The presence state in Redis: who is online, through which connections, and the outbox
of transitions. Knows nothing of SQL, Flask or Celery."""

from __future__ import annotations

from models.presence.errors import PresenceError, PresenceUnavailable
from models.presence.keys import Keys
from models.presence.presence import Presence
from models.presence.shard import Shard

__all__ = [
    "Keys",
    "Presence",
    "PresenceError",
    "PresenceUnavailable",
    "Shard",
]
