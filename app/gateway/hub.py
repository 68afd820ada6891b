"""Knows the connections of each user in this process, and delivers events to them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator

from app.gateway.client_connection import ClientConnection
from app.gateway.large_deliveries import LargeDeliveries
from app.gateway.metrics import Counts
from app.gateway.redis_clock import RedisClock
from app.gateway.snapshot_filter import StatusEvent, oldest
from app.websocket.frames import text_frame
from models import events
from models.events import Delivery, Transition
from models.identifiers import ids_in, joined_ids
from models.telemetry.changes import log_change

log = logging.getLogger(__name__)

Addressed = tuple[StatusEvent, Collection[str]]
"""An event, and the ids of its recipients, each once."""
REMEMBERED = 50_000
"""The hub remembers the newest timestamp of at least this many users, and of at most
twice as many. Repeats come within seconds, so older timestamps may be forgotten."""


class Hub:
    """The connections of one gateway process. `clock_of` gives the clock of a user's
    shard."""

    def __init__(self, counts: Counts, clock_of: Callable[[str], RedisClock]) -> None:
        self.counts = counts
        self._clock_of = clock_of
        self.large_deliveries = LargeDeliveries(
            self._connected_here, self._deliver_piece
        )
        # Notifications of the large event whose pieces are being delivered.
        self._piece_notifications = 0
        # Tuples: a list stores its items in a second place in memory, which each
        # delivery would have to read too.
        self._by_user: dict[str, tuple[ClientConnection, ...]] = {}
        self._connections: dict[str, ClientConnection] = {}
        self._newest: dict[str, int] = {}
        self._newest_before: dict[str, int] = {}
        # User -> viewer -> timestamp of the last change of visibility that this viewer
        # got. An older transition of the user may arrive after it, and must not reach
        # this viewer.
        self._visibility_delivered: dict[str, dict[str, int]] = {}
        self._visibility_size = 0

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: ClientConnection) -> None:
        """From now on, events for its user reach `connection`."""
        self._connections[connection.connection_id] = connection
        user_id = connection.user_id
        self._by_user[user_id] = (*self._by_user.get(user_id, ()), connection)

    def remove(self, connection: ClientConnection) -> bool:
        """Events no longer reach `connection`. Returns False if it was not in the
        hub."""
        if self._connections.pop(connection.connection_id, None) is None:
            return False
        before = self._by_user.pop(connection.user_id)
        if others := tuple(one for one in before if one is not connection):
            self._by_user[connection.user_id] = others
        return True

    def get(self, connection_id: str) -> ClientConnection | None:
        """The connection with that id, or None if it is not in the hub."""
        return self._connections.get(connection_id)

    def of_user(self, user_id: str) -> list[ClientConnection]:
        """The connections of `user_id`; a copy."""
        return list(self._by_user.get(user_id, ()))

    def connections(self) -> list[ClientConnection]:
        """All connections. This is a copy, so the hub may change while a caller uses
        it."""
        return list(self._connections.values())

    def deliver_transitions(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver each transition that is newer than the last one delivered for the
        same user. Drop the others: they are repeats, or come from a slow drainer after
        another drainer has taken over. Changes of visibility are always delivered.

        One call may have a transition several times, with different details for
        different recipients."""
        accepted: set[Transition] = set()
        self._deliver(
            (_status_event(one), recipients)
            for one in deliveries
            if (recipients := self._recipients(one, accepted))
        )

    def send_to_user(self, user_id: str, event: bytes) -> None:
        """Send `event` to all connections of `user_id`."""
        frame = text_frame(event)
        for connection in self._by_user.get(user_id, ()):
            connection.send(frame)

    def introduce(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver the present status of users to recipients who have just become
        relevant to them."""
        self._deliver(
            (_status_event(one, is_introduction=True), one.recipients)
            for one in deliveries
        )

    def _deliver(self, addressed: Iterable[tuple[StatusEvent, str]]) -> None:
        """Write each event to every connection of its recipients.

        An event is encoded once. A recipient gets all its events in one send. Events
        for very many recipients are left to `large_deliveries`.
        """
        queue_if_large = self.large_deliveries.queue_if_large
        # The ids become keys of a dict, because an id may be in the text twice.
        named: list[Addressed] = [
            (event, dict.fromkeys(ids_in(ids)))
            for event, ids in addressed
            if not queue_if_large(event, ids)
        ]
        if named:
            since = oldest(event for event, _ in named)
            if self._write(named, since):
                self._note_delay(named[0][0].user_id, since)

    def _deliver_piece(
        self,
        event: StatusEvent,
        recipients: list[str],
        is_last: bool,  # noqa: FBT001
    ) -> None:
        """Write `event` to `recipients`, the next of its many recipients."""
        since = oldest([event])
        self._piece_notifications += self._write([(event, recipients)], since)
        if is_last:
            if self._piece_notifications:
                self._note_delay(event.user_id, since)
            self._piece_notifications = 0

    def _connected_here(self, ids: str) -> list[str]:
        by_user = self._by_user
        return [user_id for user_id in dict.fromkeys(ids_in(ids)) if user_id in by_user]

    def _write(self, named: list[Addressed], since: float) -> int:
        """Write the events. `since` is their oldest timestamp. Returns the number of
        notifications."""
        notifications = 0
        for connections, status_events, frames in self._by_recipient(named):
            # Sending may close a connection. That does not change this tuple.
            for connection in connections:
                connection.deliver(status_events, frames, since)
                notifications += len(status_events)
        if log.isEnabledFor(logging.DEBUG):
            self._log_deliveries(named)
        self.counts.notifications += notifications
        return notifications

    def _note_delay(self, user_id: str, since: float) -> None:
        """Record the delay from the oldest event to now. All events come from the
        outbox of one shard, that of `user_id`."""
        if since < math.inf and (now := self._clock_of(user_id).now()) is not None:
            self.counts.delivery_ms.append(now - since)

    def _log_deliveries(self, named: list[Addressed]) -> None:
        """One line for each event and connection."""
        for event, recipients in named:
            delivery = event.delivery
            if delivery is None:
                continue
            change = delivery.transition
            for user_id in recipients:
                for connection in self._by_user.get(user_id, ()):
                    log_change(
                        log,
                        "a change was delivered",
                        change.id,
                        change.cause,
                        status=change.status,
                        viewer=user_id,
                        connection_id=connection.connection_id,
                    )

    def _by_recipient(
        self, named: list[Addressed]
    ) -> Iterator[tuple[tuple[ClientConnection, ...], list[StatusEvent], bytes]]:
        """For each recipient with connections in this process: the connections, the
        events, and all frames in one piece.

        Recipients without a connection here are left out. If there are few gateways,
        messages also name users of other gateways.
        """
        by_user = self._by_user
        if len(named) == 1:  # the first recipient need not wait for the other lookups
            ((event, recipients),) = named
            only = [event]
            for user_id in recipients:
                if connections := by_user.get(user_id):
                    yield connections, only, event.frame
            return
        for_user: dict[str, list[StatusEvent]] = {}
        for event, recipients in named:
            for user_id in recipients:
                if user_id in by_user:
                    for_user.setdefault(user_id, []).append(event)
        for user_id, status_events in for_user.items():
            if connections := by_user.get(user_id):
                frames = b"".join([event.frame for event in status_events])
                yield connections, status_events, frames

    def reset_after_loss(self, now: int) -> None:
        """Redis has lost its state, and its time is `now` (ms).

        All new timestamps are at least `now`. If the clock stepped back, they may be
        older than delivered ones, but they must not be dropped. Repeats older than
        `now` are still dropped. A repeat with a later timestamp may be delivered twice.
        """
        for newest in (self._newest, self._newest_before):
            for user_id, timestamp in newest.items():
                newest[user_id] = min(timestamp, now - 1)
        self._visibility_delivered, self._visibility_size = {}, 0
        self.clock_set_back(now)

    def clock_set_back(self, now: int) -> None:
        """The clock of Redis was set back to `now` (ms)."""
        for connection in self._connections.values():
            connection.clock_set_back(now)

    def _recipients(self, delivery: Delivery, accepted: set[Transition]) -> str:
        """The recipients who must get `delivery`, in the form of `joined_ids`. Empty if
        the transition is a repeat and not one of `accepted`. Leaves out viewers who got
        a newer change of visibility. Records what is delivered."""
        transition, recipients = delivery.transition, delivery.recipients
        if delivery.for_viewers:
            self._note_visibility(delivery)
            return recipients
        if transition not in accepted:
            if not self._is_newest(transition):
                return ""
            accepted.add(transition)
        delivered = self._visibility_delivered.get(transition.user_id)
        if delivered is None:
            return recipients
        return joined_ids(
            viewer
            for viewer in ids_in(recipients)
            if delivered.get(viewer, 0) < transition.timestamp
        )

    def _note_visibility(self, delivery: Delivery) -> None:
        if self._visibility_size > REMEMBERED:
            self._visibility_delivered, self._visibility_size = {}, 0
        transition = delivery.transition
        viewers = self._visibility_delivered.setdefault(transition.user_id, {})
        before = len(viewers)
        for viewer in ids_in(delivery.recipients):
            if viewer in self._by_user:
                viewers[viewer] = max(transition.timestamp, viewers.get(viewer, 0))
        self._visibility_size += len(viewers) - before

    def _is_newest(self, transition: Transition) -> bool:
        user_id = transition.user_id
        delivered = self._newest.get(user_id) or self._newest_before.get(user_id, 0)
        if transition.timestamp <= delivered:
            return False
        self._newest[user_id] = transition.timestamp
        if len(self._newest) > REMEMBERED:
            self._newest, self._newest_before = {}, self._newest
            self._visibility_delivered, self._visibility_size = {}, 0
        return True


def _status_event(delivery: Delivery, *, is_introduction: bool = False) -> StatusEvent:
    transition = delivery.transition
    frame = b""
    if not delivery.is_detail_only:
        frame = text_frame(events.friend_status_changed(transition))
    return StatusEvent(
        transition.user_id,
        transition.timestamp,
        frame,
        is_introduction=is_introduction,
        for_viewers=delivery.for_viewers,
        delivery=delivery,
    )
