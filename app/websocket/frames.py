"""WebSocket frames, out and in (RFC 6455, section 5.2).

Out: a frame from the server is not masked, so every recipient gets the same bytes. A
frame is built once and written to many sockets. So one process can send an event to
thousands of sockets. Building a frame here takes 0.3 us. A general library takes 8 us.

In: `FrameReader` replaces wsproto for most frames. Clients send almost only heartbeats,
and a heartbeat is one small, complete text frame. Reading it here takes 1.6 us. wsproto
can read every kind of frame, but takes 9.5 us, and 1.6 KB of memory per client. So a
client gets a wsproto reader only when it sends anything other than a small, complete
frame, and only until that message has ended. Hypothesis compares the two readers in
tests/test_inbound.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol

_FINAL_TEXT = 0x81
_FINAL_CLOSE = 0x88
_FINAL_PING = 0x89
_FINAL_PONG = 0x8A
_MASKED = 0x80
_MAX_IN_7_BITS = 125
_MAX_IN_16_BITS = 0xFFFF
_HEADER_BYTES = 6
"""Bytes before the payload of a small frame: two for kind and size, four for the
mask."""
_BAD_GATEWAY = 1014
"""A close code registered after RFC 6455. wsproto treats it as an error."""
MAX_REASON_BYTES = 123
"""The payload of a close frame has at most 125 bytes, and the code takes two of
them."""


def text_frame(payload: bytes) -> bytes:
    """A text frame with `payload` (UTF-8)."""
    return _frame(_FINAL_TEXT, payload)


def close_frame(code: int, reason: str) -> bytes:
    """A close frame. A `reason` longer than 123 bytes is cut between characters."""
    cut = reason.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return _frame(_FINAL_CLOSE, code.to_bytes(2, "big") + cut)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with `payload`."""
    return _frame(_FINAL_PONG, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= _MAX_IN_7_BITS:
        return bytes((first, size)) + payload
    if size <= _MAX_IN_16_BITS:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


class FrameReader:
    """Turns the bytes of one client into wsproto's events, in order."""

    __slots__ = ("_library",)

    def __init__(self) -> None:
        self._library: _Library | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the client has sent a close frame."""
        library = self._library
        return library is not None and library.state is not ConnectionState.OPEN

    def events(self, data: bytes) -> Iterator[Event]:
        """The events in `data`, together with bytes that came earlier.

        Bytes that break the protocol give a `CloseConnection` whose code says what is
        wrong: 1002 or 1007. `is_closed` is still false then.
        """
        if self._library is None:
            while small := _small_frame(data):
                event, data = small
                yield event
            if not data:
                return
            self._library = _Library()
        self._library.receive_data(data)
        yield from self._library.events()
        if self._library.is_between_messages:
            self._library = None

    def answer(self, close: CloseConnection) -> bytes:
        """The close frame that answers the client's `close` with its own code."""
        assert self._library is not None  # noqa: S101 - it has read the close
        return self._library.send(close.response())


class _Library(Connection):
    """wsproto's reader, for all kinds of frames."""

    def __init__(self) -> None:
        super().__init__(ConnectionType.SERVER)
        self._frames = self._proto = _Frames(client=False, extensions=[])

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing is half read, and no close frame came."""
        return self.state is ConnectionState.OPEN and self._frames.has_no_rest


class _Frames(FrameProtocol):
    """wsproto's frame protocol, which also accepts the close code 1014."""

    @property
    def has_no_rest(self) -> bool:
        """Whether all bytes so far made complete messages."""
        frame, message = self._frame_decoder, self._message_decoder
        return not (len(frame.buffer) or frame.header or message.opcode)

    def _process_close(self, frame: Frame) -> Frame:
        code = _BAD_GATEWAY.to_bytes(2)
        payload = bytes(frame.payload)  # type: ignore[arg-type]  # of a close: bytes
        if payload[:2] != code:
            return super()._process_close(frame)
        normal = CloseReason.NORMAL_CLOSURE.to_bytes(2) + payload[2:]
        read = super()._process_close(frame._replace(payload=normal))
        return read._replace(payload=(_BAD_GATEWAY, str(read.payload[1])))


def _small_frame(data: bytes) -> tuple[Event, bytes] | None:
    """The event of the frame at the start of `data`, and the bytes after it. None if
    `data` does not start with a small, complete text, ping or pong frame."""
    if len(data) < _HEADER_BYTES:
        return None
    kind, size = data[0], data[1] - _MASKED
    end = _HEADER_BYTES + size
    if not 0 <= size <= _MAX_IN_7_BITS or len(data) < end:
        return None
    mask = (data[2:_HEADER_BYTES] * (size // 4 + 1))[:size]
    masked = data[_HEADER_BYTES:end]
    payload = (int.from_bytes(masked) ^ int.from_bytes(mask)).to_bytes(size)
    event: Event
    if kind == _FINAL_TEXT:
        try:
            event = TextMessage(payload.decode())
        except UnicodeDecodeError:
            return None
    elif kind == _FINAL_PING:
        event = Ping(payload)
    elif kind == _FINAL_PONG:
        event = Pong(payload)
    else:
        return None
    return event, data[end:]
