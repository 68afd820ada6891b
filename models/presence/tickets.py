"""WebSocket tickets: a one-time password for `/ws?ticket=...`, good for 30 seconds.

Browsers cannot set headers on a WebSocket, and a token in a URL ends up in logs; a
ticket that is spent on first use does no harm there.
"""

from __future__ import annotations

import secrets
from typing import cast

import redis

from models.presence.errors import translated
from models.presence.keys import Keys

TICKET_TTL = 30
"""Seconds for which a ticket is good."""


class Tickets:
    """Issues and takes tickets. Raises `PresenceUnavailable` like the store."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys

    def issue(self, token: str) -> str:
        """A new ticket that stands for `token`."""
        ticket = secrets.token_urlsafe(24)
        with translated():
            self._redis.set(self._keys.ticket(ticket), token, ex=TICKET_TTL)
        return ticket

    def take(self, ticket: str) -> str | None:
        """The token that `ticket` stood for, once; None where it is unknown, spent or
        too old."""
        with translated():
            return cast("str | None", self._redis.getdel(self._keys.ticket(ticket)))
