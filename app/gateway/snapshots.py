"""Sends `presence_snapshot`: to new connections, and where the picture may be stale.

All that are owed at one time are read together: one query, one round trip to Redis. A
new connection is in the hub and in Redis before its snapshot is read, so every change
is in the snapshot or comes as an event; the newest timestamp wins.

Nobody waits for somebody else's trouble: a user whom the database does not know yet is
stored beside, and where the read of a batch fails, each of it is read alone.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable

import gevent
from gevent.event import Event
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.gateway.context import Context
from app.gateway.loops import Outage
from app.gateway.new_users import Newcomers
from app.gateway.snapshot_filter import Known, Settled
from app.websocket.connection import Connection
from app.websocket.frames import text_frame
from models import events
from models.presence import PresenceUnavailable
from models.presence.batches import batches
from models.sql.audience import relevant_users
from models.sql.db import error_text, is_unavailable
from models.sql.user import unknown_users

log = logging.getLogger(__name__)

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
RETRY_ALONE_AFTER = 5.0
"""Seconds between attempts to read a snapshot that fails while others do not."""


class Snapshots:
    """The snapshots of one gateway process."""

    def __init__(
        self, context: Context, database: Engine, newcomers: Newcomers
    ) -> None:
        self._context = context
        self._database = database
        self._newcomers = newcomers
        self._owed: dict[str, Connection] = {}
        self._first: set[str] = set()
        self._stored: set[str] = set()  # of the first: their users were stored
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
                self._send_each(batch)
                for connection in batch:
                    del owed[connection.connection_id]
                gevent.sleep(0)
            self._complete()
        except (PresenceUnavailable, SQLAlchemyError) as error:
            self._outage.failed(error_text(error))
            self._owed = {**owed, **self._owed}
            gevent.sleep(RETRY_AFTER)
            self._wake.set()

    def _send_each(self, batch: list[Connection]) -> None:
        """Send the snapshots of `batch`. Where it cannot be read for another reason
        than an outage, each is read alone; what fails then is tried again later.

        Raises:
            PresenceUnavailable, sqlalchemy.exc.SQLAlchemyError: an outage.
        """
        try:
            self._send(batch)
        except PresenceUnavailable:
            raise
        except Exception as error:
            if is_unavailable(error):
                raise
            if len(batch) > 1:
                for connection in batch:
                    self._send_each([connection])
                return
            log.exception("no snapshot for %s, it is tried again", batch[0].user_id)
            self._lacking.pop(batch[0].connection_id, None)
            gevent.spawn_later(RETRY_ALONE_AFTER, self.owe, batch)

    def _complete(self) -> None:
        """Try those again whose snapshots lacked somebody: a few, and if they get whole
        ones now, the others too."""
        while self._lacking and time.monotonic() >= self._try_at:
            batch = dict(itertools.islice(self._lacking.items(), BATCH))
            self._send_each(list(batch.values()))
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
            pictures, lacking, strangers = self._read(
                {one.user_id for one in open_ones},
                {
                    one.user_id
                    for one in open_ones
                    if one.connection_id in new - self._stored
                },
            )
        except BaseException:
            for connection in again:
                connection.let_go()
            raise
        if open_ones:  # else nothing was asked
            self._outage.succeeded()
        if strangers:  # new ones, all of their connections: theirs comes a little later
            waiting = [one for one in open_ones if one.user_id in strangers]
            gevent.spawn(self._store, waiting)
            connections = [one for one in connections if one not in waiting]
            open_ones = [one for one in open_ones if one not in waiting]
            new -= {one.connection_id for one in waiting}
        self._first -= new
        self._stored -= new
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

    def _store(self, connections: list[Connection]) -> None:
        """Store the users of `connections`, whom nobody knew, and owe them the snapshot
        that they did not get yet."""
        self._newcomers.store({one.user_id for one in connections})
        self._stored.update(self._first & {one.connection_id for one in connections})
        self.owe(connections)

    def _read(
        self, user_ids: set[str], new: set[str]
    ) -> tuple[dict[str, tuple[bytes, Known]], set[str], set[str]]:
        """For each of `user_ids` the frame of a snapshot and what it tells; whose
        frames lack somebody since a shard is away; and which of the `new` ones, who
        have come now, the database does not know."""
        strangers: set[str] = set()
        with self._database.connect() as connection:
            relevant = relevant_users(connection, sorted(user_ids))
            # Only who comes: one who was deleted while connected must not come into
            # being again by the snapshot of his having lost everybody.
            unrelated = [user_id for user_id in sorted(new) if not relevant[user_id]]
            if unrelated:
                strangers = unknown_users(connection, unrelated)
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
        return pictures, lacking, strangers


def _settle(shown: list[tuple[Connection, Known]]) -> None:
    for connection, known in shown:
        connection.settle(known)
