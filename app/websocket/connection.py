"""One WebSocket after its handshake: reading, writing, limits and closing.

All writes go through the connection's `Writer`, so a socket has one writer. If a client
does not read, its queue fills up and its connection is closed. It delays no other
client.

The greenlet that serves the request reads the socket itself. simple-websocket would
start a reader thread, and that thread would also write to the socket.

The words here: a client sends *messages*. A message has one or more *frames*. A frame
may arrive in several *pieces*. wsproto gives an event for each piece.
"""

from __future__ import annotations

import socket
import time

import gevent
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from app.websocket.frames import FrameReader, close_frame, pong_frame, text_frame
from app.websocket.writer import SocketCounts, Writer
from config import Settings
from models.events import CloseCode

BY_CLIENT = "client"
"""The key in `SocketCounts.closes` for connections that the client closed first. They
have no close code of ours."""
LOST = "lost"
"""The key in `SocketCounts.closes` for sockets that ended without a close frame."""
READ_BYTES = 4096
READ_BYTES_WHILE_CLOSING = 65536
CLOSE_WAIT = 3.0
"""Seconds that a client has to answer a close frame. After that, its socket is cut."""
READ_REST_AFTER = 0.01
"""Seconds between our close frame and the next read. When that read finds the end of
the socket, the web server cleans up and writes a log line. This takes processor time,
and notifying friends comes first."""
MAX_BYTES_WHILE_CLOSING = 4 * 1024 * 1024
BURST_SECONDS = 3.0
"""A client may send as many frames at once as are allowed in this many seconds."""


class Connection:
    """A socket after its handshake. Subclasses handle messages and the end.

    `received` has bytes that came directly after the handshake and are not handled yet.
    Nothing is sent before `open` is called: frames to the client wait until then.
    """

    __slots__ = (
        "_allowance",
        "_before_open",
        "_closing",
        "_counted_at",
        "_counts",
        "_message_bytes",
        "_most_at_once",
        "_pieces",
        "_reader",
        "_received",
        "_settings",
        "_socket",
        "_writer",
    )

    def __init__(
        self,
        sock: socket.socket,
        settings: Settings,
        counts: SocketCounts,
        received: bytes = b"",
    ) -> None:
        self._socket = sock
        self._settings = settings
        self._counts = counts
        self._most_at_once = max(1.0, settings.max_frames_per_second * BURST_SECONDS)
        self._allowance = self._most_at_once
        self._counted_at = time.monotonic()
        self._pieces: list[str | bytes | bytearray] = []
        self._message_bytes = 0
        self._before_open: list[bytes] | None = []
        self._received = received
        self._reader = FrameReader()
        self._writer = Writer(sock, settings.max_queued_bytes, counts)
        self._closing: CloseCode | None = None

    @property
    def is_closing(self) -> bool:
        """Whether a close frame was sent. Nothing is sent after it."""
        return self._closing is not None

    def on_message(self, message: str | bytes | bytearray) -> None:
        """A complete message arrived: text, or bytes if it was binary."""
        raise NotImplementedError

    def on_end(self) -> None:
        """The connection has ended or is being closed. May be called more than once."""

    # Writing

    def open(self, greeting: bytes) -> None:
        """Send the text `greeting` as the first frame, then the frames that waited for
        it."""
        early, self._before_open = self._before_open or [], None
        self.send(b"".join((text_frame(greeting), *early)))

    def send(self, frames: bytes) -> None:
        """Write complete frames without waiting. What the socket does not take is
        queued. If the queue is full, close the connection."""
        if self._closing is not None:
            return
        if self._before_open is not None:
            self._before_open.append(frames)
        elif not self._writer.write(frames):
            self.close(CloseCode.TRY_AGAIN_LATER, "this client reads too slowly")

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame, and count the connection as ended. The client has
        CLOSE_WAIT seconds to end the socket."""
        if self._closing is not None:
            return
        self._begin_close(code)
        self._send_close(code, reason)

    def _begin_close(self, code: CloseCode) -> None:
        self._closing = code
        self._counts.closes[str(int(code))] += 1
        self.on_end()

    def _send_close(self, code: CloseCode, reason: str) -> None:
        self._writer.end(close_frame(code, reason))
        gevent.spawn_later(CLOSE_WAIT, self._writer.cut)

    # Reading

    def run(self) -> None:
        """Serve the client until its socket ends."""
        data, self._received = self._received or self._receive(READ_BYTES), b""
        while data:
            # The connection may have been closed while it waited for these bytes.
            if self._closing is None and self._read_frames(data):
                return
            if self._closing is not None:
                self.read_to_the_end()
                return
            data = self._receive(READ_BYTES)

    def read_to_the_end(self) -> None:
        """Read what the client sends after our close frame. If bytes stayed unread, the
        socket would end with a reset, and the client might not see the close frame."""
        gevent.sleep(READ_REST_AFTER)
        left = MAX_BYTES_WHILE_CLOSING
        while left > 0 and (data := self._receive(READ_BYTES_WHILE_CLOSING)):
            left -= len(data)
            # Yield, or a client that floods this socket starves the others.
            gevent.sleep(0)

    def _receive(self, most: int) -> bytes:
        try:
            return self._socket.recv(most)
        except OSError:
            return b""

    def _read_frames(self, data: bytes) -> bool:
        """Handle the frames in `data`. Returns True if the client closed the
        connection."""
        for event in self._reader.events(data):
            if isinstance(event, CloseConnection):
                if not self._reader.is_closed:  # a protocol error, and no close frame
                    self.close(CloseCode(event.code), event.reason or "")
                    return False
                self._answer_close(event)
                return True
            if isinstance(event, TextMessage | BytesMessage):
                # Count a frame only at its last piece.
                if not event.frame_finished or self._is_within_rate():
                    self._read_piece(event)
            elif self._is_within_rate() and isinstance(event, Ping):
                self.send(pong_frame(bytes(event.payload)))
            if self._closing is not None:
                break
        return False

    def _answer_close(self, event: CloseConnection) -> None:
        """Send the client's own close code back, as RFC 6455 requires."""
        self._closing = CloseCode.NORMAL
        self._counts.closes[BY_CLIENT] += 1
        self._writer.end(self._reader.answer(event))
        self._writer.wait(CLOSE_WAIT)

    def _is_within_rate(self) -> bool:
        """Count a frame. If it is one too many, close the connection and return False.

        This is a token bucket: each frame takes one from the allowance. The allowance
        grows at the allowed rate, up to `_most_at_once`."""
        self._counts.frames += 1
        now = time.monotonic()
        self._allowance = min(
            self._most_at_once,
            self._allowance
            + (now - self._counted_at) * self._settings.max_frames_per_second,
        )
        self._counted_at = now
        self._allowance -= 1
        if self._allowance < 0:
            self.close(CloseCode.TOO_MANY, "too many frames")
        return self._allowance >= 0

    def _read_piece(self, event: TextMessage | BytesMessage) -> None:
        """Add one piece to the current message, and handle the message if it is
        complete. The limit of bytes applies to the whole message."""
        piece = event.data
        self._message_bytes += len(piece.encode() if isinstance(piece, str) else piece)
        if self._message_bytes > (most := self._settings.max_frame_bytes):
            self.close(CloseCode.TOO_BIG, f"a message has at most {most} bytes")
            return
        self._pieces.append(piece)
        if event.message_finished:
            pieces, self._pieces, self._message_bytes = self._pieces, [], 0
            self.on_message(type(piece)().join(pieces))  # type: ignore[arg-type]
