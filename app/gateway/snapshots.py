"""Sends `presence_snapshot` to new connections, and to clients that may be out of date.

Snapshots that are requested at the same time are read together: one query, one round
trip to Redis. A new connection is in the hub and in Redis before its snapshot is read.
So each change is in the snapshot or comes as an event; the newest timestamp wins.

One client's problem delays no other. A user who is new to the database is stored in
the background. If a batch cannot be read, each snapshot in it is read alone.
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

from app.gateway.client_connection import ClientConnection
from app.gateway.hub import Hub
from app.gateway.metrics import Counts
from app.gateway.snapshot_filter import SettledFilter, SnapshotFilter
from app.new_users import NewUsers
from app.outages import Outage
from app.websocket.frames import text_frame
from models import events
from models.presence import Presence, PresenceUnavailable
from models.presence.batches import batches
from models.shown_statuses import Rules, ShownStatuses
from models.sql.audience import relevant_users
from models.sql.db import error_text, is_unavailable
from models.sql.user import unknown_users

log = logging.getLogger(__name__)

BATCH = 100
"""Connections whose snapshots are read together. One read for all connections of a
reconnect storm would keep every other greenlet waiting."""
GATHER = 0.002
"""Seconds that the first request waits for others, so that one read serves all of them.
Events go first meanwhile: many wait for an event, and one client for a snapshot."""
SETTLE_AFTER = 5.0
"""Seconds after a snapshot until its filter is replaced by the short form. By then no
introduction of its users is under way, and no event except those in the outbox."""
RETRY_AFTER = 1.0
"""Seconds between attempts while the database or Redis is down."""
RETRY_ALONE_AFTER = 5.0
"""Seconds between attempts to read a snapshot that fails while others do not."""


class Snapshots:
    """The loop that sends the snapshots of one gateway process."""

    def __init__(
        self,
        presence: Presence,
        hub: Hub,
        counts: Counts,
        database: Engine,
        new_users: NewUsers,
        *,
        may_hide: bool,
    ) -> None:
        self._presence = presence
        self._hub = hub
        self._counts = counts
        self._database = database
        self._new_users = new_users
        self._may_hide = may_hide
        self._requested: dict[str, ClientConnection] = {}
        self._first: set[str] = set()
        """Ids of connections that have had no snapshot yet."""
        self._stored: set[str] = set()
        """Those of them whose users were new and have been stored."""
        self._incomplete: dict[str, ClientConnection] = {}
        """Connections whose last snapshot lacked the users of a shard that is down."""
        self._complete_at = 0.0
        self._wake = Event()
        self._outage = Outage("snapshots")

    def request(self, connections: Iterable[ClientConnection]) -> None:
        """Send each of `connections` a fresh snapshot soon. Never waits."""
        for connection in connections:
            self._requested[connection.connection_id] = connection
        self._wake.set()

    def request_first(self, connections: Iterable[ClientConnection]) -> None:
        """As `request`, for connections without a snapshot yet. If a shard is down they
        do not wait for its users, and get another snapshot when it is back."""
        new = {connection.connection_id: connection for connection in connections}
        self._first.update(new)
        self.request(new.values())

    def step(self) -> None:
        """Wait until snapshots are requested, and send them."""
        self._wake.wait(RETRY_AFTER if self._incomplete else None)
        gevent.sleep(GATHER)
        self._wake.clear()
        requested, self._requested = self._requested, {}
        try:
            for batch in batches(list(requested.values()), BATCH):
                self._send_each(batch)
                for connection in batch:
                    del requested[connection.connection_id]
                gevent.sleep(0)
            self._complete()
        except (PresenceUnavailable, SQLAlchemyError) as error:
            self._outage.failed(error_text(error))
            self._requested = {**requested, **self._requested}
            gevent.sleep(RETRY_AFTER)
            self._wake.set()

    def _send_each(self, batch: list[ClientConnection]) -> None:
        """Send the snapshots of `batch`. If the batch cannot be read, and not because
        of an outage, read each snapshot alone, and try the failing ones again later.

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
            log.exception(
                "the snapshot for %s could not be read, it is tried again in %.0f s",
                batch[0].user_id,
                RETRY_ALONE_AFTER,
            )
            self._incomplete.pop(batch[0].connection_id, None)
            gevent.spawn_later(RETRY_ALONE_AFTER, self.request, batch)

    def _complete(self) -> None:
        """Send complete snapshots to connections whose last one was incomplete. Try a
        few of them; if those are complete now, go on with the others."""
        while self._incomplete and time.monotonic() >= self._complete_at:
            batch = dict(itertools.islice(self._incomplete.items(), BATCH))
            self._send_each(list(batch.values()))
            if self._incomplete.keys() & batch.keys():
                self._complete_at = time.monotonic() + RETRY_AFTER
            gevent.sleep(0)

    def _send(self, connections: list[ClientConnection]) -> None:
        open_ones = list(filter(self._is_open, connections))
        new = {one.connection_id for one in connections} & self._first
        again = [one for one in open_ones if one.connection_id not in new]
        for connection in open_ones:
            connection.hold_events()
        try:
            snapshots, incomplete, unknown = self._read(
                {one.user_id for one in open_ones},
                {
                    one.user_id
                    for one in open_ones
                    if one.connection_id in new - self._stored
                },
            )
        except BaseException:
            for connection in again:
                connection.release_events()
            raise
        if open_ones:  # else nothing was read
            self._outage.succeeded()
        if unknown:  # new users: all their connections get a snapshot a little later
            waiting = [one for one in open_ones if one.user_id in unknown]
            gevent.spawn(self._store, waiting)
            connections = [one for one in connections if one not in waiting]
            open_ones = [one for one in open_ones if one not in waiting]
            new -= {one.connection_id for one in waiting}
        self._first -= new
        self._stored -= new
        for connection in connections:
            self._incomplete.pop(connection.connection_id, None)
        sent = []
        for connection in open_ones:
            is_complete = connection.user_id not in incomplete
            if not is_complete:
                self._incomplete[connection.connection_id] = connection
            # An incomplete snapshot is better than none, and worse than an older one.
            if is_complete or connection.connection_id in new:
                frame, told = snapshots[connection.user_id]
                connection.send_snapshot(frame, told)
                sent.append((connection, told))
            else:
                connection.release_events()
        self._counts.snapshots += len(sent)
        gevent.spawn_later(SETTLE_AFTER, _settle, sent)

    def _is_open(self, connection: ClientConnection) -> bool:
        return self._hub.get(connection.connection_id) is not None

    def _store(self, connections: list[ClientConnection]) -> None:
        """Store the new users of `connections`, then request their first snapshots."""
        self._new_users.store({one.user_id for one in connections})
        self._stored.update(self._first & {one.connection_id for one in connections})
        self.request(connections)

    def _read(
        self, user_ids: set[str], new: set[str]
    ) -> tuple[dict[str, tuple[bytes, SnapshotFilter]], set[str], set[str]]:
        """Read the snapshots of `user_ids`.

        Returns three values. The first has the frame and the filter of each user. The
        second has the users whose frames are incomplete because a shard is down. The
        third has the `new` users that the database does not know.
        """
        unknown: set[str] = set()
        with self._database.connect() as connection:
            relevant = relevant_users(connection, sorted(user_ids))
            rules = Rules.read(connection, sorted(user_ids), may_hide=self._may_hide)
            # New connections only. A user deleted while connected gets a snapshot
            # without anybody, and must not be created again by it.
            unrelated = [user_id for user_id in sorted(new) if not relevant[user_id]]
            if unrelated:
                unknown = unknown_users(connection, unrelated)
        everybody = set().union(*relevant.values())
        statuses = self._presence.statuses_where_possible(everybody)
        found = statuses.found
        missing = everybody - found.keys()
        times = {one.user_id: one.updated_at for one in found.values()}
        settled = SettledFilter.of(times, statuses.read_at)
        for_viewers = ShownStatuses(self._presence, rules, statuses)
        snapshots = {}
        incomplete = set()
        for user_id, others in relevant.items():
            shown = others - missing
            if len(shown) < len(others):
                incomplete.add(user_id)
            if rules.apply_to(user_id):
                snapshot, told = _snapshot_by_rules(for_viewers, rules, user_id, shown)
            else:
                in_order = (found[other] for other in sorted(shown))
                snapshot = events.presence_snapshot(in_order)
                told = SnapshotFilter(shown, times, settled)
            snapshots[user_id] = text_frame(snapshot), told
        return snapshots, incomplete, unknown


def _snapshot_by_rules(
    statuses: ShownStatuses, rules: Rules, viewer: str, users: set[str]
) -> tuple[bytes, SnapshotFilter]:
    """The snapshot and the filter of a viewer who is not shown all real statuses."""
    snapshot = events.presence_snapshot(
        statuses.shown(viewer, user_id) for user_id in sorted(users)
    )
    times = {user_id: statuses.known(viewer, user_id).updated_at for user_id in users}
    with_settings = rules.views.of.get(viewer, {}).keys()
    settled = SettledFilter.of(times, statuses.read_at, keep=with_settings)
    return snapshot, SnapshotFilter(users, times, settled)


def _settle(sent: list[tuple[ClientConnection, SnapshotFilter]]) -> None:
    for connection, told in sent:
        connection.settle(told)
