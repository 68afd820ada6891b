"""One user's WebSocket: what its messages mean, and which events it still needs.

`app.websocket.connection` does the protocol. This module handles the events of
docs/PROTOCOL.md: the client sends `heartbeat`, `activity`, `refresh` and `leave`, and
gets status events and snapshots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from app.gateway.metrics import Counts
from app.gateway.snapshot_filter import (
    ShortFilter,
    SnapshotFilter,
    StatusEvent,
    oldest,
)
from app.server.answer_socket import TakenSocket
from app.tokens import BadToken, Identity, KeysUnavailable
from app.websocket.connection import Connection
from app.websocket.frames import text_frame
from app.websocket.loop import call_later
from config import Settings
from models import events
from models.events import BadFrame, ClientEvent, CloseCode

GOODBYE_AFTER = 0.005
"""Seconds between a `leave` and its close frame. Ending a socket takes processor time,
and notifying friends comes first."""
GOODBYE = "goodbye"
DETAIL = " detail"
"""Makes the key of a user's delayed change of detail. No user id contains a space."""
EXPIRING = 60.0
"""Seconds before the end of a token at which the client is told to send a new one."""
MAX_BAD_FRAMES = 10
"""A connection is closed at this number of bad frames. Each bad frame gets an
`error`."""


class Owner(Protocol):
    """What a connection reports to: the `ShardSession` of its user's shard."""

    settings: Settings
    counts: Counts

    def heartbeat(self, connection: ClientConnection) -> None:
        """A heartbeat arrived."""

    def activity(self, connection: ClientConnection) -> None:
        """The client has said whether its person is there."""

    def request_snapshot(self, connection: ClientConnection) -> None:
        """The client needs a fresh snapshot."""

    def disconnect(self, connection: ClientConnection) -> None:
        """The connection has ended or is being closed. May be called more than once."""

    def read_token(self, token: str) -> Identity:
        """The identity in a new token of a client."""


class ClientConnection(Connection):
    """A user's connection to this process.

    `last_heartbeat` is in monotonic seconds. Other times are in seconds since the
    epoch: `issued_at` and `expires_at` are those of the token or ticket, and at
    `warns_at` the client is told that its token expires.
    If `has_left` is true, this connection gets no grace at its end. `is_idle`: the
    client has said that nobody is there. `wants_detail`: the client has asked for
    details beside statuses. `heartbeats` counts them.
    """

    __slots__ = (
        "_bad_frames",
        "_delayed",
        "_filter",
        "_owner",
        "_passes_from",
        "connection_id",
        "expires_at",
        "has_left",
        "heartbeats",
        "is_idle",
        "issued_at",
        "last_heartbeat",
        "user_id",
        "wants_detail",
        "warns_at",
    )

    def __init__(
        self,
        taken: TakenSocket,
        owner: Owner,
        *,
        connection_id: str,
        identity: Identity,
        cause: str = "",
    ) -> None:
        super().__init__(taken, owner.settings, owner.counts, cause)
        self.heartbeats = 0
        self.connection_id = connection_id
        self.user_id = identity.user_id
        self.issued_at = identity.issued_at
        self.expires_at = identity.expires_at
        self.warns_at = _warning_time(identity.expires_at, EXPIRING)
        self.last_heartbeat = time.monotonic()
        self.has_left = False
        self.is_idle = False
        self.wants_detail = False
        self._owner = owner
        self._bad_frames = 0
        self._delayed: dict[str, StatusEvent] | None = {}
        self._filter: SnapshotFilter | ShortFilter | None = None
        self._passes_from: float = math.inf

    def __str__(self) -> str:
        return f"connection {self.connection_id}"

    def life(self) -> dict[str, object]:
        """What the log says about the connection at its end."""
        return super().life() | {
            "user_id": self.user_id,
            "heartbeats": self.heartbeats,
            "gateway": self.connection_id.rpartition(":")[0],
            "connection_id": self.connection_id,
        }

    # From the client

    def on_message(self, message: str | bytes | bytearray) -> None:
        """Handle one message of the client."""
        if not isinstance(message, str):
            self._reject("bad_frame", "frames are text, not binary")
            return
        try:
            event, data = events.decode_client_event(message)
            is_idle = event is ClientEvent.ACTIVITY and events.is_idle_in(data)
            token = events.token_in(data) if event is ClientEvent.REFRESH else ""
        except BadFrame as error:
            self._reject(error.code, str(error))
            return
        if event is ClientEvent.HEARTBEAT:
            self.last_heartbeat = time.monotonic()
            self.heartbeats += 1
            self._owner.heartbeat(self)
            self.send(text_frame(events.heartbeat_ack(time.time_ns() // 1_000_000)))
        elif event is ClientEvent.LEAVE:
            self._leave()
        elif event is ClientEvent.REFRESH:
            self._handle_in_greenlet(partial(self._refresh, token))
        elif is_idle != self.is_idle:
            self.is_idle = is_idle
            self._owner.activity(self)

    def on_end(self) -> None:
        """Report the end to the session."""
        self._owner.disconnect(self)

    def _refresh(self, token: str) -> None:
        """The client has sent a new token. A bad one changes nothing. Reading it may
        wait, for the keys of tokens or for the database."""
        try:
            identity = self._owner.read_token(token)
        except BadToken as error:
            self._refuse_token(str(error))
            return
        except (KeysUnavailable, SQLAlchemyError):
            self._refuse_token("the token cannot be verified now; try again soon")
            return
        if identity.user_id != self.user_id:
            self._refuse_token("the token is another user's")
            return
        self.issued_at, self.expires_at = identity.issued_at, identity.expires_at
        left = 0.0 if self.expires_at is None else self.expires_at - time.time()
        # A client whose tokens are short must not refresh again and again without a
        # pause: it is told half-way.
        self.warns_at = _warning_time(self.expires_at, min(EXPIRING, left / 2))
        self.send(text_frame(events.token_refreshed(self.expires_at)))

    def _refuse_token(self, reason: str) -> None:
        self.send(text_frame(events.error("bad_token", reason)))

    def warn_of_expiry(self, now: float) -> None:
        """If the token expires soon, tell the client, once. `now` is in seconds since
        the epoch."""
        if self.expires_at is not None and now >= self.warns_at:
            self.warns_at = math.inf
            self.send(text_frame(events.token_expiring(self.expires_at)))

    def _leave(self) -> None:
        """The client has logged out. Notify its friends first, then close."""
        self.has_left = True
        self._begin_close(CloseCode.NORMAL, GOODBYE)
        call_later(GOODBYE_AFTER, self._send_close)

    def _reject(self, code: str, message: str) -> None:
        self._bad_frames += 1
        self.send(text_frame(events.error(code, message)))
        if self._bad_frames >= MAX_BAD_FRAMES:
            self.close(CloseCode.BAD_FRAME, "too many bad frames")

    # To the client

    def deliver(
        self, status_events: list[StatusEvent], frames: bytes, since: float
    ) -> None:
        """Send the `status_events` that the client still needs. `frames` has all their
        plain frames in one piece. `since` is their `oldest` timestamp, or an older one.
        While a snapshot is being read, keep the newest event of each user for later
        instead."""
        if self._delayed is not None:
            for event in status_events:
                # A change of detail does not replace a change of status.
                key = event.user_id + DETAIL if event.is_detail_only else event.user_id
                kept = self._delayed.get(key)
                if kept is None or event.timestamp > kept.timestamp:
                    self._delayed[key] = event
        elif self._filter is None and since >= self._passes_from:
            if self.wants_detail:
                frames = self._frames(status_events)
            if frames:  # other clients get nothing for a change of detail
                self.send(frames)
        else:
            current = self._filter or ShortFilter(int(self._passes_from))
            needed = [event for event in status_events if current.passes(event)]
            if frames := self._frames(needed):
                self.send(frames)
            if isinstance(current, SnapshotFilter):
                self._check_for_lost(current, needed)

    def _frames(self, status_events: Iterable[StatusEvent]) -> bytes:
        """The frames of `status_events` for this client, in one piece."""
        if self.wants_detail:
            return b"".join([event.frame_with_detail() for event in status_events])
        return b"".join([event.frame for event in status_events])

    def delay_events(self) -> None:
        """A snapshot is about to be read. Keep events until it is sent, because the
        client may not know their users before."""
        if self._delayed is None:
            self._delayed = {}

    def send_delayed(self) -> None:
        """The snapshot does not come now. Send the events that were delayed for it."""
        delayed, self._delayed = self._delayed or {}, None
        if delayed:
            waiting = sorted(delayed.values(), key=lambda event: event.timestamp)
            self.deliver(waiting, self._frames(waiting), oldest(waiting))

    def send_snapshot(self, snapshot: bytes, snapshot_filter: SnapshotFilter) -> None:
        """Send the frame `snapshot`, then the delayed events that `snapshot_filter`
        passes. From now on the filter also drops late events about changes that are in
        the snapshot."""
        delayed, self._delayed = self._delayed or {}, None
        self._filter, self._passes_from = snapshot_filter, math.inf
        needed = [event for event in delayed.values() if snapshot_filter.passes(event)]
        needed.sort(key=lambda event: event.timestamp)
        self.send(snapshot + self._frames(needed))
        self._check_for_lost(snapshot_filter, needed)

    def _check_for_lost(
        self, snapshot_filter: SnapshotFilter, status_events: Iterable[StatusEvent]
    ) -> None:
        if any(map(snapshot_filter.is_lost, status_events)):
            self._owner.request_snapshot(self)

    def shorten_filter(self, snapshot_filter: SnapshotFilter) -> None:
        """Replace `snapshot_filter` by its short form. By now all events about changes
        in that snapshot have arrived, except those that still wait in the outbox."""
        if self._filter is not snapshot_filter:  # another snapshot was sent since
            return
        short = snapshot_filter.short
        self._filter = short if short.ahead else None
        if self._filter is None:
            self._passes_from = short.read_at

    def clock_set_back(self, now: int) -> None:
        """The clock of the timestamps was set back to `now` (ms). So a change that has
        an older timestamp than the last snapshot may be newer than the snapshot."""
        if isinstance(self._filter, ShortFilter):
            read_at = min(self._filter.read_at, now)
            self._filter = ShortFilter(read_at, self._filter.ahead)
        elif self._filter is None:
            self._passes_from = min(self._passes_from, now)


def _warning_time(expires_at: float | None, before: float) -> float:
    """When a client is told that its token expires, `before` seconds ahead."""
    return math.inf if expires_at is None else expires_at - before
