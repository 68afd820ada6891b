"""The revoked users, in the memory of each web process.

A REST call or a handshake must not cost one more query. So each process keeps all
revocations: about 200 bytes for each user who was ever revoked. It reads them from SQL
at its start, and then every POLL_EVERY seconds the new ones. A message in the gateway
streams only makes it quicker: if Redis is down, or a message is lost, the next read
finds the revocation.

A socket that is being opened cannot slip through. A gateway first notes the revocation
and then closes the user's sockets. `ShardSession.connect` first adds a socket to the
hub and then asks `refuses`. So one of the two finds the other.
"""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.outages import Outage
from models.sql.db import error_text
from models.sql.revocations import revoked_since

REVOKED = "the token was revoked"
POLL_EVERY = 2.0
"""Seconds between two reads of new revocations."""
OVERLAP = 120
"""Each read begins so many seconds before the newest known revocation. Other processes
may commit late, and their clocks may be behind."""


class Revocations:
    """The users whose older tokens and tickets this process refuses."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._revoked_at: dict[str, int] = {}
        self._newest = -1
        self._is_read = False
        self._outage = Outage("new revocations cannot be read")

    def ensure_read(self) -> None:
        """Read the revocations, if this process has not read any yet.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is down.
        """
        if not self._is_read:
            self.read()

    def refuses(self, user_id: str, issued_at: float | None) -> bool:
        """Whether the user was revoked, and the token or ticket was issued before that
        or in the same second. `issued_at` is in seconds since the epoch. None: the
        token does not say it, so it may be older."""
        revoked_at = self._revoked_at.get(user_id)
        if revoked_at is None:
            return False
        return issued_at is None or int(issued_at) <= revoked_at

    def note(self, user_id: str, revoked_at: int) -> bool:
        """Remember a revocation. Returns False if it was known."""
        if revoked_at <= self._revoked_at.get(user_id, -1):
            return False
        self._revoked_at[user_id] = revoked_at
        self._newest = max(self._newest, revoked_at)
        return True

    def read(self) -> list[str]:
        """Read the new revocations. Returns the users whose revocations were not known.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is down.
        """
        since = self._newest - OVERLAP if self._is_read else 0
        with self._database.connect() as connection:
            found = revoked_since(connection, since)
        self._is_read = True
        return [user_id for user_id, at in found.items() if self.note(user_id, at)]

    def read_or_log(self) -> list[str]:
        """Like `read`, but an outage of the database is only logged."""
        try:
            found = self.read()
        except SQLAlchemyError as error:
            self._outage.failed(error_text(error))
            return []
        self._outage.succeeded()
        return found
