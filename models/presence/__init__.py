"""The presence state in Redis: online users, their connections, and the outbox of
transitions. Imports no SQL, Flask or Celery.

`Presence` is the facade: it has the shards, the gateways' streams and the tickets.
"""

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
