"""One WebSocket after its handshake: reading, writing, limits and closing.

All writes go through the connection's `Writer`, so a socket has one writer. If a client
does not read, its queue fills up and its connection is closed. A slow client never
delays another client.

No greenlet and no thread waits for a socket. The event loop calls `_readable` when
bytes have arrived. One call reads the socket once, so a client that floods its socket
gives way to the others after each read. `_readable` must never block. If handling a
message may block, `_handle_in_greenlet` runs it in a greenlet.

The words here: a client sends *messages*. A message has one or more *frames*. A frame
may arrive in several *pieces*. wsproto gives an event for each piece.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from app.server.answer_socket import TakenSocket
from app.websocket.frames import FrameReader, close_frame, pong_frame, text_frame
from app.websocket.loop import READABLE, call_later, watcher
from app.websocket.writer import SocketCounts, Writer
from config import Settings
from models.events import CloseCode
from models.telemetry import causes

log = logging.getLogger(__name__)

BY_CLIENT = "client"
"""The key in `SocketCounts.closes` for connections that the client closed first. They
have no close code of ours."""
LOST = "lost"
"""The key in `SocketCounts.closes` for sockets that ended without a close frame."""
_LOST: tuple[int | None, str] = (None, LOST)
"""How a connection has ended, if nothing else is known: its close code and reason."""
READ_BYTES = 4096
READ_BYTES_WHILE_CLOSING = 65536
CLOSE_WAIT = 3.0
"""Seconds that a client has to read the last bytes and to answer a close frame. After
that, its socket is cut."""
MAX_BYTES_WHILE_CLOSING = 4 * 1024 * 1024
BURST_SECONDS = 3.0
"""A client may send as many frames at once as are allowed in this many seconds."""


class Connection:
    """A socket after its handshake. `cause`: what has opened it, in the form of
    `models.telemetry.causes`. Subclasses handle messages and the end.

    It counts in `SocketCounts.sockets` until its socket is closed; the caller has added
    it. Nothing is sent before `open` is called: frames to the client wait until then.
    """

    __slots__ = (
        "_allowance",
        "_before_open",
        "_began_at",
        "_close_code",
        "_counted_at",
        "_counts",
        "_end",
        "_frame_count",
        "_is_close_sent",
        "_left_to_skip",
        "_message_bytes",
        "_on_closed",
        "_pieces",
        "_reader",
        "_received",
        "_settings",
        "_socket",
        "_unread",
        "_watcher",
        "_writer",
        "cause",
    )

    def __init__(
        self,
        taken: TakenSocket,
        settings: Settings,
        counts: SocketCounts,
        cause: str = "",
    ) -> None:
        self._socket = taken.sock
        self._received = taken.received
        self._on_closed = taken.on_closed
        self._settings = settings
        self._counts = counts
        self._allowance = _most_at_once(settings)
        self._began_at = self._counted_at = time.monotonic()
        self._frame_count = 0
        self._end = _LOST
        self.cause = cause
        self._pieces: list[str | bytes | bytearray] | None = None
        self._message_bytes = 0
        self._before_open: list[bytes] | None = []
        self._reader = FrameReader()
        self._writer = Writer(taken.sock, settings.max_queued_bytes, counts)
        self._watcher: Any = None
        self._unread: Iterator[Event] | None = None
        self._close_code: CloseCode | None = None
        self._is_close_sent = False
        self._left_to_skip = MAX_BYTES_WHILE_CLOSING

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closing or closed. `send` then drops its frames."""
        return self._close_code is not None

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
        if self._close_code is not None:
            return
        if self._before_open is not None:
            self._before_open.append(frames)
        elif not self._writer.write(frames):
            self.close(CloseCode.TRY_AGAIN_LATER, "this client reads too slowly")

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame, and count the connection as ended. The client has
        CLOSE_WAIT seconds to end the socket."""
        if self._close_code is not None:
            return
        self._begin_close(code, reason)
        self._send_close()

    def _begin_close(self, code: CloseCode, reason: str) -> None:
        self._close_code = code
        self._end = int(code), reason
        self._counts.closes[str(int(code))] += 1
        self.on_end()

    def _send_close(self) -> None:
        """Send our close frame, if none was sent or answered.

        The client answers with its own close frame and ends the socket. Until then
        we read: if bytes stayed unread, the socket would end with a reset, and the
        client might not see our close frame."""
        code, reason = self._end
        if self._is_close_sent or code is None:
            return
        self._is_close_sent = True
        self._writer.end(close_frame(code, reason), self._writer.shut_down)
        call_later(CLOSE_WAIT, self._writer.cut)

    def _close_socket(self) -> None:
        """The end of the socket, whoever ended it."""
        if self._watcher is None:
            return
        self._watcher.close()
        self._watcher = None
        self._unread = None
        self._writer.close()
        self._note_loss()
        self._counts.sockets -= 1
        self.on_end()
        self._on_closed()
        log.info("a connection has ended", extra=self.life())

    def _note_loss(self) -> None:
        """If no close frame was sent or received, count the connection as lost."""
        if self._close_code is None:
            self._counts.closes[LOST] += 1
            self._close_code = CloseCode.NORMAL  # nothing more is sent

    def life(self) -> dict[str, object]:
        """What the log says about the connection at its end."""
        code, reason = self._end
        return ({} if code is None else {"code": code}) | {
            "reason": reason,
            "seconds": round(time.monotonic() - self._began_at, 3),
            "frames": self._frame_count,
            **causes.log_fields(self.cause),
        }

    # Reading

    def start(self) -> None:
        """Begin to serve the client, until its socket ends. Returns at once."""
        self._watcher = watcher(self._socket, READABLE)
        received, self._received = self._received, b""
        if received and self._close_code is None:
            self._read(self._reader.events(received))
        self._listen()

    def _listen(self) -> None:
        """Have `_readable` called when bytes arrive. Do nothing while a message is
        being handled in a greenlet."""
        if self._watcher is not None and self._unread is None:
            self._watcher.start(self._readable)

    def _readable(self) -> None:
        """Bytes have arrived, or the client has ended the socket. Called by the event
        loop."""
        closing = self._close_code is not None
        try:
            data = self._socket.recv(
                READ_BYTES_WHILE_CLOSING if closing else READ_BYTES
            )
        except BlockingIOError:
            return
        except OSError:  # a reset, so nothing more reaches the client
            self._close_socket()
            return
        if not data:
            self._close_after_queue()
        elif closing:
            self._skip(data)
        else:
            self._read(self._reader.events(data))

    def _skip(self, data: bytes) -> None:
        """Ignore `data`, which came after the close frame of one side."""
        self._left_to_skip -= len(data)
        if self._left_to_skip <= 0:
            self._close_socket()

    def _close_after_queue(self) -> None:
        """The client sends nothing more. It may still read, if it has shut down only
        its half of the socket. So write what is queued, and then close the socket."""
        self._send_close()
        self._writer.finish(self._close_socket)
        if self._watcher is not None:  # the kernel does not take all of it yet
            self._watcher.stop()
            self._note_loss()
            self.on_end()
            call_later(CLOSE_WAIT, self._close_socket)

    def _read(self, events: Iterator[Event]) -> None:
        """Handle `events`, until one of them has to wait or the connection is being
        closed."""
        try:
            for event in events:
                self._handle(event)
                if self._unread is not None:
                    self._unread = events
                    return
                if self._close_code is not None:
                    return
        except Exception:
            log.exception("%s failed", self)
            self.close(CloseCode.INTERNAL_ERROR, "internal error")

    def _handle_in_greenlet(self, handle: Callable[[], None]) -> None:
        """Call `handle`, which may wait, in a greenlet. The client's next messages are
        handled after it."""
        self._unread = iter(())
        if self._watcher is not None:
            self._watcher.stop()

        def wait() -> None:
            try:
                handle()
            except Exception:
                log.exception("%s failed", self)
                self.close(CloseCode.INTERNAL_ERROR, "internal error")
            unread, self._unread = self._unread, None
            if unread is not None and self._close_code is None:
                self._read(unread)
            self._listen()

        gevent.spawn(wait)

    def _handle(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            if self._reader.is_closed:
                self._answer_close(event)
            else:  # a protocol error, and no close frame
                self.close(CloseCode(event.code), event.reason or "")
        elif isinstance(event, TextMessage | BytesMessage):
            # Count a frame only at its last piece.
            if not event.frame_finished or self._is_within_rate():
                self._read_piece(event)
        elif self._is_within_rate() and isinstance(event, Ping):
            self.send(pong_frame(bytes(event.payload)))

    def _answer_close(self, event: CloseConnection) -> None:
        """Send the client's own close code back, as RFC 6455 requires, and end the
        socket."""
        self._close_code = CloseCode.NORMAL
        self._end = event.code, BY_CLIENT
        self._counts.closes[BY_CLIENT] += 1
        self.on_end()
        self._is_close_sent = True
        self._writer.end(self._reader.answer(event), self._close_if_read)
        if self._watcher is not None:  # something is still to be written or read
            call_later(CLOSE_WAIT, self._close_socket)

    def _close_if_read(self) -> None:
        """Close the socket after the answer to a close frame. If the client has sent
        more after its close frame, read that first. Unread bytes would make the socket
        end with a reset, and the client might not see our answer."""
        try:
            unread = self._socket.recv(READ_BYTES_WHILE_CLOSING)
        except OSError:
            unread = b""
        if unread:
            self._writer.shut_down()
            self._skip(unread)
        else:
            self._close_socket()

    def _is_within_rate(self) -> bool:
        """Count a frame. If it is one too many, close the connection and return False.

        This is a token bucket: each frame takes one from the allowance. The allowance
        grows at the allowed rate, up to `_most_at_once`."""
        settings = self._settings
        self._counts.frames += 1
        self._frame_count += 1
        now = time.monotonic()
        self._allowance = min(
            _most_at_once(settings),
            self._allowance + (now - self._counted_at) * settings.max_frames_per_second,
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
            self.close(CloseCode.TOO_BIG, f"message too large: {most} bytes at most")
            return
        pieces = self._pieces = self._pieces or []
        pieces.append(piece)
        if event.message_finished:
            self._pieces, self._message_bytes = None, 0
            self.on_message(type(piece)().join(pieces))  # type: ignore[arg-type]


def _most_at_once(settings: Settings) -> float:
    """The most frames that a client may send at once."""
    return max(1.0, settings.max_frames_per_second * BURST_SECONDS)
