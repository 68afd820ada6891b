"""WebSocket tickets: a one-time password for `/ws?ticket=...`, good for 30 seconds.

Browsers cannot set headers on a WebSocket, and a token in a URL ends up in logs; a
ticket that is spent on first use does no harm there.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import cast

from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend

TICKET_TTL = 30
"""Seconds for which a ticket is good."""


class Tickets:
    """Issues and takes tickets, of which each has its shard. Raises
    `PresenceUnavailable` like the store."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def issue(self, token: str) -> str:
        """A new ticket that stands for `token`."""
        ticket = secrets.token_urlsafe(24)
        shard, key = self._place(ticket)
        self._backend.run(shard, [("SET", key, token, "EX", TICKET_TTL)])
        return ticket

    def take(self, ticket: str) -> str | None:
        """The token that `ticket` stood for, once; None where it is unknown, spent or
        too old."""
        shard, key = self._place(ticket)
        (token,) = self._backend.run(shard, [("GETDEL", key)])
        return cast("str | None", token)

    def _place(self, ticket: str) -> tuple[int, str]:
        shard = shard_number(ticket, len(self._keys))
        return shard, self._keys[shard].ticket(ticket)
