"""WebSocket tickets: one-time passwords for `/ws?ticket=...`, valid for 30 seconds.

Browsers cannot set headers on a WebSocket, and a token in a URL ends up in logs. A
ticket in a log is harmless, because it works only once.

A client exchanges its token for a ticket. The host application gets a ticket for a user
directly, without a token. Redis stores the user of the ticket, and no token.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend

TICKET_TTL = 30
"""Seconds that a ticket is valid."""
_PREFIX = "host:"
"""Begins what is stored for a ticket. No token contains a colon. The name is an old
one: only tickets of the host were stored in this way."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket stands for. Times are seconds since the epoch."""

    user_id: str
    issued_at: float | None
    """When the token was issued that the client gave for the ticket, or when the host
    got the ticket. None: the token does not say it."""
    expires_at: float | None
    """When that token expires. None: never."""

    def stored(self) -> str:
        """The value in Redis. A process of an older version reads the number, with its
        underscore, as one number, and does not use it."""
        issued_at = 0 if self.issued_at is None else int(self.issued_at)
        number = str(max(0, issued_at))
        if self.expires_at is not None:
            number += f"_{max(0, int(self.expires_at * 1000))}"
        return f"{_PREFIX}{number}:{self.user_id}"

    @classmethod
    def read(cls, stored: str) -> Self:
        """Inverse of `stored`."""
        number, _, user_id = stored.removeprefix(_PREFIX).partition(":")
        issued_at, _, expires_ms = number.partition("_")
        return cls(
            user_id,
            int(issued_at) or None,
            int(expires_ms) / 1000 if expires_ms else None,
        )


class Tickets:
    """Issues and redeems tickets. Each ticket belongs to a shard. Methods raise
    `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def issue(self, content: Ticket) -> str:
        """A new ticket that stands for `content`."""
        ticket = secrets.token_urlsafe(24)
        shard, key = self._place(ticket)
        self._backend.run(shard, [("SET", key, content.stored(), "EX", TICKET_TTL)])
        return ticket

    def take(self, ticket: str) -> Ticket | str | None:
        """What `ticket` stands for. The ticket cannot be used again. Returns None if it
        is unknown, used or expired. Returns a token, not verified, if a process of an
        older version has issued the ticket."""
        shard, key = self._place(ticket)
        (found,) = self._backend.run(shard, [("GETDEL", key)])
        value: str | None = found
        if value is None or not value.startswith(_PREFIX):
            return value
        return Ticket.read(value)

    def _place(self, ticket: str) -> tuple[int, str]:
        shard = shard_number(ticket, len(self._keys))
        return shard, self._keys[shard].ticket(ticket)
