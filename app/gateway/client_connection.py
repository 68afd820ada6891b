"""One user's WebSocket: what its messages mean, and which events it still needs.

`app.websocket.connection` does the protocol. Here are the events of docs/PROTOCOL.md:
`heartbeat` and `leave` from the client, status events and snapshots to it.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Protocol

import gevent

from app.gateway.metrics import Counts
from app.gateway.snapshot_filter import (
    SettledFilter,
    SnapshotFilter,
    StatusEvent,
    oldest,
)
from app.websocket.connection import Connection
from app.websocket.frames import text_frame
from config import Settings
from models import events
from models.events import BadFrame, ClientEvent, CloseCode

GOODBYE_AFTER = 0.005
"""Seconds between a `leave` and its close frame. Friends are notified first: ending the
socket takes processor time from that."""
MAX_BAD_FRAMES = 10
"""A client is closed at this many bad frames. Each one before gets an `error`."""


class Owner(Protocol):
    """What a connection reports to: the `ShardSession` of its user's shard."""

    settings: Settings
    counts: Counts

    def heartbeat(self, connection: ClientConnection) -> None:
        """A heartbeat arrived."""

    def disconnect(self, connection: ClientConnection) -> None:
        """The connection has ended or is being closed. May be called more than once."""


class ClientConnection(Connection):
    """A user's connection to this process.

    `last_heartbeat` is in monotonic seconds, `expires_at` in seconds since the epoch.
    `has_left` says that the end of this connection needs no grace.
    """

    __slots__ = (
        "_bad_frames",
        "_filter",
        "_held",
        "_owner",
        "_passes_from",
        "connection_id",
        "expires_at",
        "has_left",
        "last_heartbeat",
        "user_id",
    )

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        *,
        connection_id: str,
        user_id: str,
        expires_at: float | None,
        first: bytes = b"",
    ) -> None:
        super().__init__(sock, owner.settings, owner.counts, first)
        self.connection_id = connection_id
        self.user_id = user_id
        self.expires_at = expires_at
        self.last_heartbeat = time.monotonic()
        self.has_left = False
        self._owner = owner
        self._bad_frames = 0
        self._held: dict[str, StatusEvent] | None = {}
        self._filter: SnapshotFilter | SettledFilter | None = None
        self._passes_from: float = math.inf

    # From the client

    def on_message(self, message: str | bytes | bytearray) -> None:
        """Handle one message of the client."""
        if not isinstance(message, str):
            self._reject("bad_frame", "frames are text, not binary")
            return
        try:
            event = events.decode_client_event(message)
        except BadFrame as error:
            self._reject(error.code, str(error))
            return
        if event is ClientEvent.HEARTBEAT:
            self.last_heartbeat = time.monotonic()
            self._owner.heartbeat(self)
            self.send(text_frame(events.heartbeat_ack(time.time_ns() // 1_000_000)))
        else:
            self._leave()

    def on_end(self) -> None:
        """Report the end to the session."""
        self._owner.disconnect(self)

    def _leave(self) -> None:
        """The client has logged out. Notify its friends first, then close."""
        self.has_left = True
        self._begin_close(CloseCode.NORMAL)
        gevent.sleep(GOODBYE_AFTER)
        self._send_close(CloseCode.NORMAL, "goodbye")

    def _reject(self, code: str, message: str) -> None:
        self._bad_frames += 1
        self.send(text_frame(events.error(code, message)))
        if self._bad_frames >= MAX_BAD_FRAMES:
            self.close(CloseCode.BAD_FRAME, "too many bad frames")

    # To the client

    def deliver(
        self, status_events: list[StatusEvent], frames: bytes, since: float
    ) -> None:
        """Send those of `status_events` that the client still needs. `frames` has all
        their frames in one piece, and `since` is their `oldest` timestamp, or an older
        one. While a snapshot is being read, hold the newest event of each user
        instead."""
        if self._held is not None:
            for event in status_events:
                held = self._held.get(event.user_id)
                if held is None or event.timestamp > held.timestamp:
                    self._held[event.user_id] = event
        elif self._filter is None and since >= self._passes_from:
            self.send(frames)
        else:
            current = self._filter or SettledFilter(int(self._passes_from))
            needed = [event.frame for event in status_events if current.passes(event)]
            if needed:
                self.send(b"".join(needed))

    def hold_events(self) -> None:
        """A snapshot is about to be read. Hold events until it is sent: they may be
        about users that the snapshot does not have yet."""
        if self._held is None:
            self._held = {}

    def release_events(self) -> None:
        """The snapshot does not come now. Send the events that were held for it."""
        held, self._held = self._held or {}, None
        if held:
            waiting = list(held.values())
            frames = b"".join([event.frame for event in waiting])
            self.deliver(waiting, frames, oldest(waiting))

    def send_snapshot(self, snapshot: bytes, told: SnapshotFilter) -> None:
        """Send the frame `snapshot`, then those held events that `told` passes. A
        change from before the snapshot is in it, though its event may come long
        after."""
        held, self._held = self._held or {}, None
        self._filter, self._passes_from = told, math.inf
        frames = [event.frame for event in held.values() if told.passes(event)]
        self.send(b"".join((snapshot, *frames)))

    def settle(self, told: SnapshotFilter) -> None:
        """Replace the filter `told` by its short form. Of the changes in its snapshot,
        no event is under way any more except those that wait in the outbox."""
        if self._filter is not told:  # there was another snapshot since
            return
        self._filter = told.settled if told.settled.ahead else None
        if self._filter is None:
            self._passes_from = told.settled.read_at

    def clock_set_back(self, now: int) -> None:
        """The clock of the timestamps was set back to `now` (ms). A change with a
        timestamp before the last snapshot's may be newer than the snapshot."""
        if isinstance(self._filter, SettledFilter):
            read_at = min(self._filter.read_at, now)
            self._filter = SettledFilter(read_at, self._filter.ahead)
        elif self._filter is None:
            self._passes_from = min(self._passes_from, now)
