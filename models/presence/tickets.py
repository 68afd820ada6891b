"""WebSocket tickets: one-time passwords for `/ws?ticket=...`, valid for 30 seconds.

Browsers cannot set headers on a WebSocket, and a token in a URL ends up in logs. A
ticket in a log is harmless, because it works only once.

A client exchanges its token for a ticket, which then stands for that token. The host
application gets a ticket for a user directly, without a token.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend

TICKET_TTL = 30
"""Seconds that a ticket is valid."""
_OF_HOST = "host:"
"""Begins what is stored for a ticket of the host. No token contains a colon."""


@dataclass(frozen=True, slots=True)
class HostTicket:
    """What a ticket of the host stands for: a user, and when the host asked for the
    ticket (seconds since the epoch)."""

    user_id: str
    issued_at: int

    def stored(self) -> str:
        """The value in Redis."""
        return f"{_OF_HOST}{self.issued_at}:{self.user_id}"

    @classmethod
    def read(cls, stored: str) -> Self:
        """Inverse of `stored`."""
        issued_at, _, user_id = stored.removeprefix(_OF_HOST).partition(":")
        return cls(user_id, int(issued_at))


class Tickets:
    """Issues and redeems tickets. Each ticket belongs to a shard. Methods raise
    `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def issue(self, token: str) -> str:
        """A new ticket for `token`."""
        return self._store(token)

    def issue_for(self, user_id: str) -> str:
        """A new ticket for a user, at the request of the host."""
        return self._store(HostTicket(user_id, int(time.time())).stored())

    def _store(self, value: str) -> str:
        ticket = secrets.token_urlsafe(24)
        shard, key = self._place(ticket)
        self._backend.run(shard, [("SET", key, value, "EX", TICKET_TTL)])
        return ticket

    def take(self, ticket: str) -> str | HostTicket | None:
        """The token of `ticket`, or what the host asked for. The ticket cannot be used
        again. Returns None if the ticket is unknown, used or expired."""
        shard, key = self._place(ticket)
        (found,) = self._backend.run(shard, [("GETDEL", key)])
        value: str | None = found
        if value is None or not value.startswith(_OF_HOST):
            return value
        return HostTicket.read(value)

    def _place(self, ticket: str) -> tuple[int, str]:
        shard = shard_number(ticket, len(self._keys))
        return shard, self._keys[shard].ticket(ticket)
