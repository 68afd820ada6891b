"""Makes users known to the database whose token is all that is known of them yet.

The host application vouches for its users by the token, so any of them may come before
the host has named them. Nobody waits for long until one is stored: where the database
takes no writes, a user without relations has an empty map all the same, and storing is
tried again until it works.
"""

from __future__ import annotations

from collections.abc import Collection

import gevent
from sqlalchemy import Engine

from app.gateway.loops import Outage
from models.presence.batches import batches
from models.sql.db import error_text, is_unavailable, session_factory
from models.sql.user import ensure_users

PATIENCE = 1.0
"""Seconds for which a caller waits until its users are stored."""
RETRY_AFTER = 1.0
"""Seconds between two attempts."""
MOST = 10_000
"""Users that are remembered for another attempt. Those beyond are stored when they
come again."""


class Newcomers:
    """The users of one process that are still to be stored in `database`."""

    def __init__(self, database: Engine) -> None:
        self._sessions = session_factory(database)
        self._left: set[str] = set()
        self._retries = False
        self._outage = Outage("new users are not stored yet")

    def store(self, user_ids: Collection[str]) -> None:
        """Store those of `user_ids` who are unknown. What is not done within PATIENCE,
        or fails, goes on by itself. Never raises."""
        if self._retries:  # it would only fail as well
            self._keep(user_ids)
        else:
            gevent.spawn(self._attempt, user_ids).join(PATIENCE)

    def _attempt(self, user_ids: Collection[str]) -> bool:
        """Store `user_ids`; each by itself where one of them makes it fail. What fails
        is kept. False: the database is away."""
        try:
            with self._sessions() as session:
                ensure_users(session, user_ids)
                session.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            if is_unavailable(error) or len(user_ids) == 1:
                self._outage.failed(error_text(error))
                self._keep(user_ids)
                return not is_unavailable(error)
            for user_id in user_ids:
                self._attempt([user_id])
        return True

    def _keep(self, user_ids: Collection[str]) -> None:
        self._left.update(list(user_ids)[: max(0, MOST - len(self._left))])
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
