"""WebSocket tickets: one-time passwords for `/ws?ticket=...`, valid for 30 seconds.

Browsers cannot set headers on a WebSocket, and a token in a URL ends up in logs. A
ticket in a log is harmless, because it works only once.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import cast

from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend

TICKET_TTL = 30
"""Seconds that a ticket is valid."""


class Tickets:
    """Issues and redeems tickets. Each ticket belongs to a shard. Methods raise
    `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def issue(self, token: str) -> str:
        """A new ticket for `token`."""
        ticket = secrets.token_urlsafe(24)
        shard, key = self._place(ticket)
        self._backend.run(shard, [("SET", key, token, "EX", TICKET_TTL)])
        return ticket

    def take(self, ticket: str) -> str | None:
        """The token of `ticket`. The ticket cannot be used again. Returns None if the
        ticket is unknown, used or expired."""
        shard, key = self._place(ticket)
        (token,) = self._backend.run(shard, [("GETDEL", key)])
        return cast("str | None", token)

    def _place(self, ticket: str) -> tuple[int, str]:
        shard = shard_number(ticket, len(self._keys))
        return shard, self._keys[shard].ticket(ticket)
