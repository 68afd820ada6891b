"""Sends `presence_snapshot`: to new connections, and where the picture may be stale.

All that are owed at one time are read together: one query, one round trip to Redis. A
new connection is in the hub and in Redis before its snapshot is read, so every change
is in the snapshot or comes as an event; the newest timestamp wins.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import gevent
from gevent.event import Event
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.gateway.connection import Connection
from app.gateway.context import Context
from app.gateway.frames import text_frame
from app.gateway.known import Known, Settled
from app.gateway.loops import Outage
from models import events
from models.audience import relevant_users
from models.db import session_factory
from models.presence import PresenceUnavailable
from models.presence.batches import batches
from models.user import ensure_user

BATCH = 100
"""Connections whose snapshots are read together: a read of all that a storm brings
would keep every other greenlet waiting."""
GATHER = 0.002
"""Seconds that the first one owed waits for others: one read for all of them. Changes,
which many wait for, go before a snapshot, for which one does."""
SETTLE_AFTER = 5.0
"""Seconds after which no introduction is under way that a snapshot already knows, and
of events only such as wait in the outbox."""
RETRY_AFTER = 1.0
"""Seconds between attempts while the database or Redis is away."""


class Snapshots:
    """The snapshots of one gateway process."""

    def __init__(self, context: Context, database: Engine) -> None:
        self._context = context
        self._database = database
        self._sessions = session_factory(database)
        self._owed: dict[str, Connection] = {}
        self._first: set[str] = set()
        self._lacking: dict[str, Connection] = {}
        self._try_at = 0.0
        self._wake = Event()
        self._outage = Outage("snapshots")

    def owe(self, connections: Iterable[Connection]) -> None:
        """Have each of `connections` get a fresh snapshot soon. Never waits."""
        for connection in connections:
            self._owed[connection.connection_id] = connection
        self._wake.set()

    def owe_first(self, connections: Iterable[Connection]) -> None:
        """As `owe`, for such that have had none yet: where a shard is away, they do not
        wait for its users, and get another snapshot when it is back."""
        new = {connection.connection_id: connection for connection in connections}
        self._first.update(new)
        self.owe(new.values())

    def step(self) -> None:
        """Wait until snapshots are owed, and send them."""
        self._wake.wait(RETRY_AFTER if self._lacking else None)
        gevent.sleep(GATHER)
        self._wake.clear()
        owed, self._owed = self._owed, {}
        try:
            for batch in batches(list(owed.values()), BATCH):
                self._send(batch)
                for connection in batch:
                    del owed[connection.connection_id]
                gevent.sleep(0)
            self._complete()
        except (PresenceUnavailable, SQLAlchemyError) as error:
            self._outage.failed(error)
            self._owed = {**owed, **self._owed}
            gevent.sleep(RETRY_AFTER)
            self._wake.set()

    def _complete(self) -> None:
        """Try those again whose snapshots lacked somebody: a few, and if they get whole
        ones now, the others too."""
        while self._lacking and time.monotonic() >= self._try_at:
            batch = dict(itertools.islice(self._lacking.items(), BATCH))
            self._send(list(batch.values()))
            if self._lacking.keys() & batch.keys():
                self._try_at = time.monotonic() + RETRY_AFTER
            gevent.sleep(0)

    def _send(self, connections: list[Connection]) -> None:
        open_ones = list(filter(self._is_open, connections))
        new = {one.connection_id for one in connections} & self._first
        again = [one for one in open_ones if one.connection_id not in new]
        for connection in open_ones:
            connection.hold()
        try:
            pictures, lacking = self._read(
                {one.user_id for one in open_ones},
                {one.user_id for one in open_ones if one.connection_id in new},
            )
        except BaseException:
            for connection in again:
                connection.let_go()
            raise
        if open_ones:  # else nothing was asked
            self._outage.succeeded()
        self._first -= new
        for connection in connections:
            self._lacking.pop(connection.connection_id, None)
        shown = []
        for connection in open_ones:
            is_whole = connection.user_id not in lacking
            if not is_whole:
                self._lacking[connection.connection_id] = connection
            # A picture that lacks somebody is better than none, but not than an older.
            if is_whole or connection.connection_id in new:
                picture, known = pictures[connection.user_id]
                connection.show(picture, known)
                shown.append((connection, known))
            else:
                connection.let_go()
        self._context.counts.snapshots += len(shown)
        gevent.spawn_later(SETTLE_AFTER, _settle, shown)

    def _is_open(self, connection: Connection) -> bool:
        return self._context.hub.get(connection.connection_id) is not None

    def _read(
        self, user_ids: set[str], new: set[str]
    ) -> tuple[dict[str, tuple[bytes, Known]], set[str]]:
        """For each of `user_ids` the frame of a snapshot and what it tells, and whose
        frames lack somebody since a shard is away. Of them `new` have come now, and are
        made known to the database if they are not."""
        with self._database.connect() as connection:
            relevant = relevant_users(connection, sorted(user_ids))
        # Only who comes: one who was deleted while connected must not come into being
        # again by the snapshot of his having lost everybody.
        unrelated = [user_id for user_id in sorted(new) if not relevant[user_id]]
        if unrelated:
            # A token is enough: the host application vouches for its users.
            with self._sessions() as session:
                for user_id in unrelated:
                    ensure_user(session, user_id)
                session.commit()
        everybody = set().union(*relevant.values())
        presence = self._context.presence
        statuses, read_at = presence.statuses_where_possible(everybody)
        unknown = everybody - statuses.keys()
        times = {one.user_id: one.updated_at for one in statuses.values()}
        settled = Settled.of(times, read_at)
        pictures = {}
        lacking = set()
        for user_id, others in relevant.items():
            shown = others - unknown
            if len(shown) < len(others):
                lacking.add(user_id)
            snapshot = events.presence_snapshot(
                statuses[other] for other in sorted(shown)
            )
            pictures[user_id] = text_frame(snapshot), Known(shown, times, settled)
        return pictures, lacking


def _settle(shown: list[tuple[Connection, Known]]) -> None:
    for connection, known in shown:
        connection.settle(known)
