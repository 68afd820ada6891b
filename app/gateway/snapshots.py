"""Sends `presence_snapshot`: to new connections, and where the picture may be stale.

All that are owed at one time are read together: one query, one round trip to Redis. A
new connection is in the hub and in Redis before its snapshot is read, so every change
is in the snapshot or comes as an event; the newest timestamp wins.
"""

from __future__ import annotations

from collections.abc import Iterable

import gevent
from gevent.event import Event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.gateway.connection import Connection
from app.gateway.context import Context
from app.gateway.frames import text_frame
from app.gateway.loops import Outage
from models import events
from models.audience import relevant_users
from models.presence import PresenceUnavailable
from models.presence.store import batches
from models.user import ensure_user

BATCH = 100
"""Connections whose snapshots are read together: a read of all that a storm brings
would keep every other greenlet waiting."""
GATHER = 0.002
"""Seconds that the first one owed waits for others: one read for all of them. Changes,
which many wait for, go before a snapshot, for which one does."""
SETTLE_AFTER = 5.0
"""Seconds after which no event is under way that a snapshot already knows."""
RETRY_AFTER = 1.0
"""Seconds between attempts while the database or Redis is away."""


class Snapshots:
    """The snapshots of one gateway process."""

    def __init__(self, context: Context, sessions: sessionmaker[Session]) -> None:
        self._context = context
        self._sessions = sessions
        self._owed: dict[str, Connection] = {}
        self._wake = Event()
        self._outage = Outage("snapshots")

    def owe(self, connections: Iterable[Connection]) -> None:
        """Have each of `connections` get a fresh snapshot soon. Never waits."""
        for connection in connections:
            self._owed[connection.connection_id] = connection
        self._wake.set()

    def step(self) -> None:
        """Wait until snapshots are owed, and send them."""
        self._wake.wait()
        gevent.sleep(GATHER)
        self._wake.clear()
        owed, self._owed = self._owed, {}
        for batch in batches(list(owed.values()), BATCH):
            try:
                self._send(batch)
            except (PresenceUnavailable, SQLAlchemyError) as error:
                self._outage.failed(error)
                self._owed = {**owed, **self._owed}
                gevent.sleep(RETRY_AFTER)
                self._wake.set()
                return
            for connection in batch:
                del owed[connection.connection_id]
            gevent.sleep(0)
        self._outage.succeeded()

    def _send(self, connections: list[Connection]) -> None:
        open_ones = [
            connection
            for connection in connections
            if self._context.hub.get(connection.connection_id) is not None
        ]
        frames, known = self._read({connection.user_id for connection in open_ones})
        for connection in open_ones:
            connection.show(frames[connection.user_id], known)
        self._context.counts.snapshots += len(open_ones)
        gevent.spawn_later(SETTLE_AFTER, _settle, open_ones)

    def _read(self, user_ids: set[str]) -> tuple[dict[str, bytes], dict[str, int]]:
        """The frame of a snapshot for each of `user_ids`, and what they know together:
        user id -> timestamp."""
        with self._sessions() as session:
            relevant = relevant_users(session, sorted(user_ids))
            unrelated = [user_id for user_id, others in relevant.items() if not others]
            for user_id in unrelated:
                # A token is enough: the host application vouches for its users.
                ensure_user(session, user_id)
            if unrelated:
                session.commit()
        everybody = set().union(*relevant.values())
        statuses = {
            status.user_id: status
            for status in self._context.presence.store.statuses(everybody)
        }
        frames = {
            user_id: text_frame(
                events.presence_snapshot(statuses[other] for other in sorted(others))
            )
            for user_id, others in relevant.items()
        }
        return frames, {user_id: one.updated_at for user_id, one in statuses.items()}


def _settle(connections: list[Connection]) -> None:
    for connection in connections:
        connection.settle()
