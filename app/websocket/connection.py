"""One client: its frames, its limits and what it has been shown.

All writes to a socket go through its `Outbound`, so there is one writer. A client that
does not read fills its queue, is closed, and delays nobody.

Reading is done here too, by the greenlet that serves the request, in place of
simple-websocket's reader thread: that one writes to the socket by itself, beside ours.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Protocol

import gevent
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from app.gateway.counts import BY_CLIENT, Counts
from app.gateway.snapshot_filter import Known, News, Settled, oldest
from app.websocket.frame_reader import Inbound
from app.websocket.frames import close_frame, pong_frame, text_frame
from app.websocket.writer import Outbound
from models import events
from models.events import BadFrame, ClientEvent, CloseCode

READ_BYTES = 4096
READ_BYTES_WHILE_CLOSING = 65536
CLOSE_WAIT = 3.0
"""Seconds that a client has to answer a close frame before its socket is cut."""
TIDY_AFTER = 0.01
"""Seconds after a close frame until its socket is read on. What follows its end, down
to the web server's log, would take the processor from those who tell friends of it."""
GOODBYE_AFTER = 0.005
"""Seconds after a `leave` until its close frame."""
MOST_BYTES_WHILE_CLOSING = 4 * 1024 * 1024
MOST_BAD_FRAMES = 10
"""Bad frames after which a client is closed; until then each gets an `error`."""
BURST_SECONDS = 3.0
"""A client may send that many seconds' worth of frames at once."""


class Owner(Protocol):
    """Who is told what happens on a connection: the gateway."""

    counts: Counts

    def heartbeat(self, connection: Connection) -> None:
        """A heartbeat came."""

    def depart(self, connection: Connection) -> None:
        """The connection has ended or is being closed. May be told more than once."""


class Connection:
    """A client's socket after the handshake. Not shared between processes.

    `last_heartbeat` is in monotonic seconds, `expires_at` in seconds since the epoch.
    `has_left` says that the end of this connection needs no grace. `first`: bytes that
    the client sent right behind its handshake.
    """

    __slots__ = (
        "_allowance",
        "_bad_frames",
        "_closing",
        "_counted_at",
        "_early",
        "_first",
        "_frames_per_second",
        "_held",
        "_inbound",
        "_known",
        "_max_frame_bytes",
        "_message_bytes",
        "_most_at_once",
        "_outbound",
        "_owner",
        "_parts",
        "_passes_from",
        "_socket",
        "connection_id",
        "expires_at",
        "has_left",
        "last_heartbeat",
        "user_id",
    )

    def __init__(  # noqa: PLR0913 - each is a fact about this client or a limit
        self,
        sock: socket.socket,
        owner: Owner,
        *,
        connection_id: str,
        user_id: str,
        expires_at: float | None,
        max_frame_bytes: int,
        max_queued_bytes: int,
        frames_per_second: float,
        first: bytes = b"",
    ) -> None:
        self.connection_id = connection_id
        self.user_id = user_id
        self.expires_at = expires_at
        self.last_heartbeat = time.monotonic()
        self.has_left = False
        self._socket = sock
        self._owner = owner
        self._max_frame_bytes = max_frame_bytes
        self._frames_per_second = frames_per_second
        self._most_at_once = max(1.0, frames_per_second * BURST_SECONDS)
        self._allowance = self._most_at_once
        self._counted_at = self.last_heartbeat
        self._bad_frames = 0
        self._parts: list[str | bytes | bytearray] = []
        self._message_bytes = 0
        self._early: list[bytes] | None = []
        self._held: dict[str, News] | None = {}
        self._known: Known | Settled | None = None
        self._passes_from: float = math.inf
        self._first = first
        self._inbound = Inbound()
        self._outbound = Outbound(sock, max_queued_bytes, owner.counts)
        self._closing: CloseCode | None = None

    @property
    def is_closing(self) -> bool:
        """Whether a close frame was sent: nothing else will be."""
        return self._closing is not None

    # Writing

    def open(self, welcome: bytes) -> None:
        """Send `welcome`, first of all, and then what came in the meantime."""
        early, self._early = self._early or [], None
        self.send(b"".join((text_frame(welcome), *early)))

    def show(self, snapshot: bytes, known: Known) -> None:
        """Send the frame of a snapshot, and then the news that came meanwhile.

        `known` is what the snapshot tells: news that it does not let pass is dropped. A
        change before the snapshot is in it, and its event may come long after it.
        """
        held, self._held = self._held or {}, None
        self._known, self._passes_from = known, math.inf
        frames = [news.frame for news in held.values() if known.lets_pass(news)]
        self.send(b"".join((snapshot, *frames)))

    def settle(self, known: Known) -> None:
        """Of what the snapshot with `known` tells nothing is under way any more, but
        for what waits in the outbox: remember it in short."""
        if self._known is not known:  # there has been another one since
            return
        self._known = known.settled if known.settled.ahead else None
        if self._known is None:
            self._passes_from = known.settled.read_at

    def step_back(self, now: int) -> None:
        """The clock of the timestamps is behind what it was, and it is `now` there
        (ms): what is as old as the last snapshot may be newer than that."""
        if isinstance(self._known, Settled):
            read_at = min(self._known.read_at, now)
            self._known = Settled(read_at, self._known.ahead)
        elif self._known is None:
            self._passes_from = min(self._passes_from, now)

    def hold(self) -> None:
        """A snapshot is about to be read: news waits until it is shown, for it may be
        of somebody whom the snapshot does not have yet."""
        if self._held is None:
            self._held = {}

    def let_go(self) -> None:
        """The snapshot does not come now: send what was held for it."""
        held, self._held = self._held or {}, None
        if held:
            news = list(held.values())
            self.deliver(news, b"".join([item.frame for item in news]), oldest(news))

    def deliver(self, news: list[News], frames: bytes, oldest: float) -> None:
        """Send news, of which `frames` are all the frames in one piece, and `oldest` is
        what the function of that name says. What comes before a snapshot is held back:
        the newest of each user."""
        if self._held is not None:
            for item in news:
                held = self._held.get(item.user_id)
                if held is None or item.timestamp > held.timestamp:
                    self._held[item.user_id] = item
        elif self._known is None and oldest >= self._passes_from:
            self.send(frames)
        else:
            known = self._known or Settled(int(self._passes_from))
            passing = [item.frame for item in news if known.lets_pass(item)]
            if passing:
                self.send(b"".join(passing))

    def send(self, frames: bytes) -> None:
        """Write whole frames. Never waits: what the socket does not take is queued, and
        a client whose queue is full is closed."""
        if self._closing is not None:
            return
        if self._early is not None:
            self._early.append(frames)
        else:
            self._write(frames)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame, and count the connection as gone. The client has
        CLOSE_WAIT seconds to end the socket."""
        if self._closing is not None:
            return
        self._depart(code)
        self._end(code, reason)

    def _leave(self) -> None:
        """The client goes for good. Its friends are told first: the end of its socket
        takes the processor from who does that."""
        self.has_left = True
        self._depart(CloseCode.NORMAL)
        gevent.sleep(GOODBYE_AFTER)
        self._end(CloseCode.NORMAL, "goodbye")

    def _depart(self, code: CloseCode) -> None:
        self._closing = code
        self._owner.counts.closes[str(int(code))] += 1
        self._owner.depart(self)

    def _end(self, code: CloseCode, reason: str) -> None:
        self._outbound.end(close_frame(code, reason))
        gevent.spawn_later(CLOSE_WAIT, self._outbound.cut)

    def _write(self, frames: bytes) -> None:
        if not self._outbound.write(frames):
            self.close(CloseCode.TOO_SLOW, "this client reads too slowly")

    # Reading

    def run(self) -> None:
        """Serve the client until its socket ends."""
        data, self._first = self._first or self._receive(READ_BYTES), b""
        while data:
            # It may have been closed while we waited: then nothing counts any more.
            if self._closing is None and self._take(data):
                return
            if self._closing is not None:
                self.read_to_the_end()
                return
            data = self._receive(READ_BYTES)

    def read_to_the_end(self) -> None:
        """Read what a client sends after our close frame: unread, it would turn the end
        into a reset, and the client might not see the frame."""
        gevent.sleep(TIDY_AFTER)
        left = MOST_BYTES_WHILE_CLOSING
        while left > 0 and (data := self._receive(READ_BYTES_WHILE_CLOSING)):
            left -= len(data)
            # Of a flood there is always more to read: it would keep all others waiting.
            gevent.sleep(0)

    def _receive(self, most: int) -> bytes:
        try:
            return self._socket.recv(most)
        except OSError:
            return b""

    def _take(self, data: bytes) -> bool:
        """Handle what has arrived. True where the client closed the connection."""
        for event in self._inbound.events(data):
            if isinstance(event, CloseConnection):
                if not self._inbound.is_closed:  # by no close frame: a protocol error
                    self.close(CloseCode(event.code), event.reason or "")
                    return False
                self._answer_close(event)
                return True
            self._handle(event)
            if self._closing is not None:
                break
        return False

    def _answer_close(self, event: CloseConnection) -> None:
        """Send the client's own code back, as RFC 6455 wants it."""
        self._closing = CloseCode.NORMAL
        self._owner.counts.closes[BY_CLIENT] += 1
        self._outbound.end(self._inbound.answer(event))
        self._outbound.wait(CLOSE_WAIT)

    def _handle(self, event: Event) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            # A frame that comes in pieces is an event for each, and counts once.
            if not event.frame_finished or self._is_within_rate():
                self._take_part(event)
        elif self._is_within_rate() and isinstance(event, Ping):
            self.send(pong_frame(bytes(event.payload)))

    def _is_within_rate(self) -> bool:
        """Count a frame; one too many closes the connection. A token bucket:
        BURST_SECONDS' worth of frames, filled at the rate."""
        self._owner.counts.frames += 1
        now = time.monotonic()
        self._allowance = min(
            self._most_at_once,
            self._allowance + (now - self._counted_at) * self._frames_per_second,
        )
        self._counted_at = now
        self._allowance -= 1
        if self._allowance < 0:
            self.close(CloseCode.TOO_MANY, "too many frames")
        return self._allowance >= 0

    def _take_part(self, event: TextMessage | BytesMessage) -> None:
        """A message comes in parts: as the client cut it, and as it was read."""
        part = event.data
        self._message_bytes += len(part.encode() if isinstance(part, str) else part)
        if self._message_bytes > self._max_frame_bytes:
            limit = f"a frame has at most {self._max_frame_bytes} bytes"
            self.close(CloseCode.TOO_BIG, limit)
            return
        self._parts.append(part)
        if event.message_finished:
            parts, self._parts, self._message_bytes = self._parts, [], 0
            self._handle_message(type(part)().join(parts))  # type: ignore[arg-type]

    def _handle_message(self, message: str | bytes | bytearray) -> None:
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

    def _reject(self, code: str, message: str) -> None:
        self._bad_frames += 1
        self.send(text_frame(events.error(code, message)))
        if self._bad_frames >= MOST_BAD_FRAMES:
            self.close(CloseCode.BAD_FRAME, "too many bad frames")
