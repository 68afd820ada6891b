"""Stores users who connect before the host application has created them.

The host signs a token only for its own users. So a user with a valid token is accepted,
even if the database does not know the user. Storing the user must not take long. If the
database accepts no writes, the user still gets an empty map, and storing is retried
until it works.
"""

from __future__ import annotations

from collections.abc import Collection

import gevent
from sqlalchemy import Engine

from app.outages import Outage
from models.presence.batches import batches
from models.sql.db import error_text, is_unavailable, session_factory
from models.sql.user import ensure_users

MAX_WAIT = 1.0
"""The most seconds that a caller waits until its users are stored."""
RETRY_AFTER = 1.0
"""Seconds between two attempts."""
MAX_REMEMBERED = 10_000
"""The most users that are remembered for another attempt. Any further user is stored
when the user connects again."""


class NewUsers:
    """The users of one process that are still to be stored in `database`."""

    def __init__(self, database: Engine) -> None:
        self._sessions = session_factory(database)
        self._left: set[str] = set()
        self._retries = False
        self._outage = Outage("new users cannot be stored yet, this is retried")

    def store(self, user_ids: Collection[str]) -> None:
        """Store the `user_ids` that the database does not know. Waits for up to
        MAX_WAIT seconds, and then continues in the background. Never raises."""
        if self._retries:  # the database is down, so an attempt now would fail too
            self._keep(user_ids)
        else:
            gevent.spawn(self._attempt, user_ids).join(MAX_WAIT)

    def _attempt(self, user_ids: Collection[str]) -> bool:
        """Store `user_ids`. If one of them makes this fail, store each user alone, and
        keep the failing ones for later. Returns False if the database is down."""
        try:
            with self._sessions() as session:
                ensure_users(session, user_ids)
                session.commit()
        except Exception as error:  # noqa: BLE001 - any failure is tried again
            if is_unavailable(error) or len(user_ids) == 1:
                self._outage.failed(error_text(error))
                self._keep(user_ids)
                return not is_unavailable(error)
            for user_id in user_ids:
                self._attempt([user_id])
        return True

    def _keep(self, user_ids: Collection[str]) -> None:
        self._left.update(list(user_ids)[: max(0, MAX_REMEMBERED - len(self._left))])
        if not self._retries:
            self._retries = True
            gevent.spawn(self._retry)

    def _retry(self) -> None:
        while self._left:
            gevent.sleep(RETRY_AFTER)
            left, self._left = self._left, set()
            for batch in batches(left):
                if self._attempt(batch):
                    left -= set(batch)
                else:
                    self._keep(left)
                    break
        self._retries = False
        self._outage.succeeded()
