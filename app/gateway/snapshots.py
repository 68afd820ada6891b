"""Sends `presence_snapshot`: to a new connection, and to users whose picture is stale.

A new connection is registered in the hub and in Redis before its snapshot is read, so
every change is in the snapshot or comes as an event; the newest timestamp wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gevent.event import Event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.gateway.connection import Connection
from app.gateway.frames import text_frame
from app.gateway.hub import Hub
from app.gateway.loops import Outage
from models import events
from models.audience import relevant_users
from models.presence import Presence, PresenceUnavailable
from models.presence.store import SCRIPT_BATCH, batches
from models.user import ensure_user

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0
"""Seconds between attempts while the database or Redis is away."""


class Snapshots:
    """The snapshots of one gateway process."""

    def __init__(
        self, presence: Presence, sessions: sessionmaker[Session], hub: Hub
    ) -> None:
        self._presence = presence
        self._sessions = sessions
        self._hub = hub
        self._owed: set[str] = set()
        self._wake = Event()
        self._outage = Outage("snapshots")

    def send(self, connection: Connection) -> None:
        """Send a snapshot to a new connection, now or as soon as it can be read."""
        try:
            user_id = connection.user_id
            frame = self._frames([user_id])[user_id]
        except (PresenceUnavailable, SQLAlchemyError) as error:
            self._outage.failed(error)
            self.owe([connection.user_id])
        else:
            connection.send(frame)

    def owe(self, user_ids: Iterable[str]) -> None:
        """Have every connection of `user_ids` here get a fresh snapshot soon."""
        self._owed.update(user_ids)
        self._wake.set()

    def step(self) -> None:
        """Wait until a snapshot is owed, and send all that are."""
        self._wake.wait()
        self._wake.clear()
        owed, self._owed = self._owed, set()
        for batch in batches(sorted(owed), SCRIPT_BATCH):
            here = [user_id for user_id in batch if self._hub.of_user(user_id)]
            try:
                frames = self._frames(here)
            except (PresenceUnavailable, SQLAlchemyError) as error:
                self._owed |= owed
                self._outage.failed(error)
                break
            for user_id, frame in frames.items():
                for connection in self._hub.of_user(user_id):
                    connection.send(frame)
        else:
            self._outage.succeeded()
            return
        self._wake.wait(RETRY_AFTER)
        self._wake.set()

    def _frames(self, user_ids: list[str]) -> dict[str, bytes]:
        """A snapshot for each of `user_ids`: one query, one round trip to Redis."""
        with self._sessions() as session:
            relevant = relevant_users(session, user_ids)
            unknown = [user_id for user_id in user_ids if not relevant[user_id]]
            for user_id in unknown:
                # A token is enough: the host application vouches for its users.
                ensure_user(session, user_id)
            session.commit()
        everybody = set().union(*relevant.values())
        statuses = {
            status.user_id: status
            for status in self._presence.store.statuses(everybody)
        }
        return {
            user_id: text_frame(
                events.presence_snapshot(statuses[other] for other in sorted(others))
            )
            for user_id, others in relevant.items()
        }
