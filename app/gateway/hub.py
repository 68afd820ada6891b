"""Which user has which sockets here, and the delivery of one event to many of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.gateway.counts import Counts
from app.gateway.snapshot_filter import News, oldest
from app.websocket.connection import Connection
from app.websocket.frames import text_frame
from models import events
from models.events import Delivery, Transition
from models.identifiers import ids_in

REMEMBERED = 50_000
"""Users whose newest delivered timestamp is remembered, twice that at most. Repeats
come within seconds, so the old may be forgotten."""


class Hub:
    """The connections of one gateway process."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        # Tuples: a list's array would be one more place in memory for each friend.
        self._by_user: dict[str, tuple[Connection, ...]] = {}
        self._connections: dict[str, Connection] = {}
        self._newest: dict[str, int] = {}
        self._newest_before: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """From now on events for its user reach `connection`."""
        self._connections[connection.connection_id] = connection
        user_id = connection.user_id
        self._by_user[user_id] = (*self._by_user.get(user_id, ()), connection)

    def remove(self, connection: Connection) -> bool:
        """No event reaches `connection` any more. False: it was not here."""
        if self._connections.pop(connection.connection_id, None) is None:
            return False
        held = self._by_user.pop(connection.user_id)
        if left := tuple(one for one in held if one is not connection):
            self._by_user[connection.user_id] = left
        return True

    def get(self, connection_id: str) -> Connection | None:
        """The connection with that id, if it is here."""
        return self._connections.get(connection_id)

    def of_user(self, user_id: str) -> list[Connection]:
        """The connections of `user_id`; a copy."""
        return list(self._by_user.get(user_id, ()))

    def connections(self) -> list[Connection]:
        """All connections; a copy, so that it may be walked while they come and go."""
        return list(self._connections.values())

    def deliver_news(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver transitions, but for those that are not newer than what has been
        delivered of the same user: repeats, or what another drainer overtook."""
        self._deliver(
            (_news(one.transition), one.recipients)
            for one in deliveries
            if self._is_news(one.transition)
        )

    def introduce(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver the present status of users to others who may see them only now."""
        self._deliver(
            (_news(one.transition, is_introduction=True), one.recipients)
            for one in deliveries
        )

    def _deliver(self, addressed: Iterable[tuple[News, str]]) -> None:
        """Write each event to every socket of its recipients.

        An event is encoded once. All that one user gets goes out in one send.
        """
        notifications = 0
        for held, items, frames, since in self._by_recipient(addressed):
            for connection in held:  # sending may close one, and leave another tuple
                connection.deliver(items, frames, since)
                notifications += len(items)
        self._counts.notifications += notifications

    def _by_recipient(
        self, addressed: Iterable[tuple[News, str]]
    ) -> Iterator[tuple[tuple[Connection, ...], list[News], bytes, float]]:
        """For each user who is here the connections, what is new, all its frames in one
        piece, and the `oldest` of it. Where gateways are few they are told of
        everybody, here or not."""
        by_user = self._by_user
        # As the keys of a dict: who is named twice is there once.
        told = [(item, dict.fromkeys(ids_in(named))) for item, named in addressed]
        if len(told) == 1:  # the first of many recipients is not to wait for the last
            ((item, recipients),) = told
            only = [item]
            since = oldest(only)
            for user_id in recipients:
                if held := by_user.get(user_id):
                    yield held, only, item.frame, since
            return
        news: dict[str, list[News]] = {}
        for item, recipients in told:
            for user_id in recipients:
                if user_id in by_user:
                    news.setdefault(user_id, []).append(item)
        for user_id, items in news.items():
            if held := by_user.get(user_id):
                frames = b"".join([item.frame for item in items])
                yield held, items, frames, oldest(items)

    def begin_anew(self, now: int) -> None:
        """Redis has lost its state, and it is `now` there (ms): from now on timestamps
        are no less, though its clock may have stepped back. What it may repeat from
        before is no news."""
        for newest in (self._newest, self._newest_before):
            for user_id, timestamp in newest.items():
                newest[user_id] = min(timestamp, now - 1)
        self.step_back(now)

    def step_back(self, now: int) -> None:
        """The clock of Redis is behind what it was, and it is `now` there (ms)."""
        for connection in self._connections.values():
            connection.step_back(now)

    def _is_news(self, transition: Transition) -> bool:
        user_id = transition.user_id
        known = self._newest.get(user_id) or self._newest_before.get(user_id, 0)
        if transition.timestamp <= known:
            return False
        self._newest[user_id] = transition.timestamp
        if len(self._newest) > REMEMBERED:
            self._newest, self._newest_before = {}, self._newest
        return True


def _news(transition: Transition, *, is_introduction: bool = False) -> News:
    frame = text_frame(events.friend_status_changed(transition))
    return News(transition.user_id, transition.timestamp, frame, is_introduction)
