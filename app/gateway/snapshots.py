"""Sends `presence_snapshot` to new connections, and to clients that may be out of date.

Snapshots that are requested at the same time are read together, with a few queries and
one round trip to Redis. A new connection is in the hub and in Redis before its snapshot
is read. So each change is in the snapshot or comes as an event. The newest timestamp
wins.

A problem of one client delays no other client. A user who is new to the database is
stored in the background. If a batch cannot be read, each snapshot in it is read alone.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import gevent
from gevent.event import Event
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.gateway.client_connection import ClientConnection
from app.gateway.hub import Hub
from app.gateway.metrics import Counts
from app.gateway.snapshot_filter import ShortFilter, SnapshotFilter
from app.new_users import NewUsers
from app.outages import Outage
from app.websocket.frames import text_frame
from models import events
from models.batches import batches
from models.events import UserStatus
from models.presence import Presence, PresenceUnavailable
from models.shown_statuses import Rules, ShownStatuses, add_last_seen
from models.sql.audience import relevant_users
from models.sql.db import error_text, is_unavailable
from models.sql.presence_settings import layers_of
from models.sql.user import unknown_users

log = logging.getLogger(__name__)

BATCH = 100
"""At most this many snapshots are read together. One read for all connections of a
reconnect storm would keep every other greenlet waiting."""
GATHER = 0.002
"""Seconds that the first request waits for more requests, so that one read serves all
of them. Events are delivered in this time: each of them serves many clients."""
PIECE = 2_000
"""Statuses that are handled in one step: about 4 ms in all. Other greenlets run between
two steps. Otherwise a user with 100,000 friends would block the process for a fifth of
a second."""
SHORTEN_AFTER = 5.0
"""Seconds after a snapshot until its filter is replaced by the short form. By then all
introductions of its users have arrived, and all events except those that still wait in
the outbox."""
RETRY_AFTER = 1.0
"""Seconds between attempts while the database or Redis is down."""
RETRY_ALONE_AFTER = 5.0
"""Seconds between attempts to read a snapshot that fails while other snapshots can be
read."""


T = TypeVar("T")
Snapshot = tuple[bytes, SnapshotFilter]
"""A frame, and the filter for the events after it."""


class Snapshots:
    """The loop that sends the snapshots of one gateway process."""

    def __init__(
        self,
        presence: Presence,
        hub: Hub,
        counts: Counts,
        database: Engine,
        new_users: NewUsers,
    ) -> None:
        self._presence = presence
        self._hub = hub
        self._counts = counts
        self._database = database
        self._new_users = new_users
        self._requested: dict[str, ClientConnection] = {}
        self._first: set[str] = set()
        """Ids of connections that have had no snapshot yet."""
        self._stored: set[str] = set()
        """Ids in `_first` whose users were new and have been stored."""
        self._incomplete: dict[str, ClientConnection] = {}
        """Connections whose last snapshot lacked the users of a shard that is down."""
        self._next_complete_attempt = 0.0
        """The monotonic time of the next attempt to send complete snapshots."""
        self._wake = Event()
        self._outage = Outage("snapshots cannot be read")

    def request(self, connections: Iterable[ClientConnection]) -> None:
        """Send each of `connections` a fresh snapshot soon. Never waits."""
        for connection in connections:
            self._requested[connection.connection_id] = connection
        self._wake.set()

    def request_first(self, connections: Iterable[ClientConnection]) -> None:
        """Like `request`, but for connections that have had no snapshot yet. If a shard
        is down, they get a snapshot without its users at once, and a complete one when
        the shard is back."""
        first = {connection.connection_id: connection for connection in connections}
        self._first.update(first)
        self.request(first.values())

    def step(self) -> None:
        """Wait until snapshots are requested, and send them."""
        self._wake.wait(RETRY_AFTER if self._incomplete else None)
        gevent.sleep(GATHER)
        self._wake.clear()
        requested, self._requested = self._requested, {}
        try:
            for batch in batches(list(requested.values()), BATCH):
                self._send_or_split(batch)
                for connection in batch:
                    del requested[connection.connection_id]
                gevent.sleep(0)
            self._complete()
        except (PresenceUnavailable, SQLAlchemyError) as error:
            self._outage.failed(error_text(error))
            self._requested = {**requested, **self._requested}
            gevent.sleep(RETRY_AFTER)
            self._wake.set()

    def _send_or_split(self, batch: list[ClientConnection]) -> None:
        """Send the snapshots of `batch`. If the batch cannot be read, but not because
        of an outage, read each snapshot alone. If one fails even then, retry it later.

        Raises:
            PresenceUnavailable, sqlalchemy.exc.SQLAlchemyError: Redis or the database
                is down.
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
                    self._send_or_split([connection])
                return
            log.exception(
                "the snapshot for %s could not be read, this is retried in %.0f s",
                batch[0].user_id,
                RETRY_ALONE_AFTER,
            )
            self._incomplete.pop(batch[0].connection_id, None)
            gevent.spawn_later(RETRY_ALONE_AFTER, self.request, batch)

    def _complete(self) -> None:
        """Send complete snapshots to connections whose last snapshot was incomplete.
        Try one batch. Only if all of that batch is complete now, try the next batch."""
        while self._incomplete and time.monotonic() >= self._next_complete_attempt:
            batch = dict(itertools.islice(self._incomplete.items(), BATCH))
            self._send_or_split(list(batch.values()))
            if self._incomplete.keys() & batch.keys():
                self._next_complete_attempt = time.monotonic() + RETRY_AFTER
            gevent.sleep(0)

    def _send(self, connections: list[ClientConnection]) -> None:
        open_ones = list(filter(self._is_open, connections))
        first = {one.connection_id for one in connections} & self._first
        refreshed = [one for one in open_ones if one.connection_id not in first]
        for connection in open_ones:
            connection.delay_events()
        try:
            snapshots, incomplete, unknown = self._read(
                _viewers(open_ones),
                {
                    one.user_id
                    for one in open_ones
                    if one.connection_id in first - self._stored
                },
            )
        except BaseException:
            for connection in refreshed:
                connection.send_delayed()
            raise
        if open_ones:  # otherwise nothing was read
            self._outage.succeeded()
        if unknown:  # new users: their connections get a snapshot a little later
            waiting = [one for one in open_ones if one.user_id in unknown]
            gevent.spawn(self._store, waiting)
            connections = [one for one in connections if one not in waiting]
            open_ones = [one for one in open_ones if one not in waiting]
            first -= {one.connection_id for one in waiting}
        self._first -= first
        self._stored -= first
        for connection in connections:
            self._incomplete.pop(connection.connection_id, None)
        sent = []
        for connection in open_ones:
            is_complete = connection.user_id not in incomplete
            if not is_complete:
                self._incomplete[connection.connection_id] = connection
            # An incomplete snapshot is better than no snapshot, but worse than the
            # older one that the client may have.
            if is_complete or connection.connection_id in first:
                key = connection.user_id, connection.wants_detail
                frame, snapshot_filter = snapshots[key]
                connection.send_snapshot(frame, snapshot_filter)
                sent.append((connection, snapshot_filter))
            else:
                connection.send_delayed()
        self._counts.snapshots += len(sent)
        gevent.spawn_later(SHORTEN_AFTER, _shorten_filters, sent)

    def _is_open(self, connection: ClientConnection) -> bool:
        return self._hub.get(connection.connection_id) is not None

    def _store(self, connections: list[ClientConnection]) -> None:
        """Store the new users of `connections`, then request their first snapshots."""
        self._new_users.store({one.user_id for one in connections})
        self._stored.update(self._first & {one.connection_id for one in connections})
        self.request(connections)

    def _read(
        self, viewers: Mapping[str, set[bool]], maybe_new: set[str]
    ) -> tuple[dict[tuple[str, bool], Snapshot], set[str], set[str]]:
        """Read the snapshots of the users in `viewers`. The set of a user contains True
        if a connection wants details, and False if a connection wants none.

        Returns three values. The first has the snapshots, by user and whether with
        details. The second has the users whose snapshots are incomplete because a shard
        is down. The third has the users in `maybe_new` that the database does not know.
        """
        unknown: set[str] = set()
        user_ids = sorted(viewers)
        began = time.monotonic()
        with self._database.connect() as connection:
            relevant = relevant_users(connection, user_ids)
            everybody = set().union(*relevant.values())
            wants_detail = any(True in wanted for wanted in viewers.values())
            # Before the rules: nobody is shown what a user sets while hiding.
            layers = layers_of(connection, everybody) if wants_detail else None
            rules = Rules.read(connection, user_ids, may_hide=self._presence.may_hide)
            # Only for first snapshots: a user who is deleted while connected gets an
            # empty snapshot, and this must not create the user again.
            unrelated = [one for one in sorted(maybe_new) if not relevant[one]]
            if unrelated:
                unknown = unknown_users(connection, unrelated)
        statuses = self._presence.statuses_where_possible(everybody)
        add_last_seen(self._database, statuses, rules)
        read_at = statuses.read_at
        if wants_detail:  # what was set after the layers were read is not in there
            read_at -= math.ceil((time.monotonic() - began) * 1000)
        missing = everybody - statuses.found.keys()
        times = {
            one.user_id: one.updated_at
            for piece in _pieces(statuses.found.values())
            for one in piece
        }
        short = ShortFilter.of(times, read_at)
        shown = ShownStatuses(rules, statuses, layers)
        snapshots: dict[tuple[str, bool], Snapshot] = {}
        incomplete = set()
        encoded = 0
        for user_id, others in relevant.items():
            if encoded >= PIECE:
                encoded = 0
                gevent.sleep(0)
            present = others - missing
            encoded += len(present)
            if len(present) < len(others):
                incomplete.add(user_id)
            if user_id in rules.viewers:
                in_order, own_filter = _by_rules(
                    shown, rules, user_id, present, read_at
                )
            else:
                in_order = [
                    statuses.found[other]
                    for piece in _pieces(sorted(present))
                    for other in piece
                ]
                own_filter = SnapshotFilter(present, times, short)
            for with_detail in viewers[user_id]:
                frame = text_frame(_encode(shown, in_order, with_detail=with_detail))
                snapshots[user_id, with_detail] = frame, own_filter
        return snapshots, incomplete, unknown


def _viewers(connections: Iterable[ClientConnection]) -> dict[str, set[bool]]:
    """The users of `connections`, as `Snapshots._read` takes them."""
    found: dict[str, set[bool]] = {}
    for one in connections:
        found.setdefault(one.user_id, set()).add(one.wants_detail)
    return found


def _pieces(items: Iterable[T]) -> Iterator[list[T]]:
    """`items` in lists of at most PIECE. Other greenlets run in between."""
    for number, piece in enumerate(batches(items, PIECE)):
        if number:
            gevent.sleep(0)
        yield piece


def _encode(
    shown: ShownStatuses, statuses: list[UserStatus], *, with_detail: bool
) -> bytes:
    if not with_detail:
        parts = [events.presence_snapshot(piece) for piece in _pieces(statuses)]
    else:
        parts = [
            events.presence_snapshot_with_details(
                (status, shown.detail(status)) for status in piece
            )
            for piece in _pieces(statuses)
        ]
    return events.joined_snapshots(parts)


def _by_rules(
    shown: ShownStatuses, rules: Rules, viewer: str, users: set[str], read_at: int
) -> tuple[list[UserStatus], SnapshotFilter]:
    """The statuses and the filter of a viewer who is not shown all real statuses."""
    known = [
        shown.known(viewer, user_id)
        for piece in _pieces(sorted(users))
        for user_id in piece
    ]
    times = {one.user_id: one.updated_at for one in known}
    with_settings = rules.views.of.get(viewer, {}).keys()
    short = ShortFilter.of(times, read_at, keep=with_settings)
    statuses = [shown.to_send(viewer, one) for piece in _pieces(known) for one in piece]
    read_times = {
        one.user_id: one.updated_at
        for one in statuses
        if one.updated_at != times[one.user_id]
    }
    return statuses, SnapshotFilter(users, times, short, read_times)


def _shorten_filters(sent: list[tuple[ClientConnection, SnapshotFilter]]) -> None:
    for connection, snapshot_filter in sent:
        connection.shorten_filter(snapshot_filter)
