"""What comes in on one socket: frames (RFC 6455, section 5.2), as wsproto's events.

Nearly all that a client ever sends is a heartbeat: one small frame, whole, by itself.
Those are read here, in 1.6 us where wsproto, which can read anything, takes 9.5 and 1.6
KB of memory for each client. It is asked from the first bytes on that are something
else.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol

_FINAL_TEXT = 0x81
_FINAL_PING = 0x89
_FINAL_PONG = 0x8A
_MASKED = 0x80
_MOST_IN_7_BITS = 125
_BEFORE_PAYLOAD = 6
"""Two bytes of what it is, four that mask it."""
_BAD_GATEWAY = 1014
"""A close code that was registered after RFC 6455. wsproto takes it for an error."""


class Inbound:
    """The bytes of one client, in the order in which they came."""

    __slots__ = ("_library",)

    def __init__(self) -> None:
        self._library: Connection | None = None

    @property
    def is_closed(self) -> bool:
        """Whether a close frame has come."""
        library = self._library
        return library is not None and library.state is not ConnectionState.OPEN

    def events(self, data: bytes) -> Iterator[Event]:
        """What the client says by `data` and what came before. Bytes that break the
        protocol are a `CloseConnection` while nothing `is_closed`; its code says what
        is wrong with them: 1002 or 1007."""
        if self._library is None:
            while small := _small_frame(data):
                event, data = small
                yield event
            if not data:
                return
            self._library = _Library()
        self._library.receive_data(data)
        yield from self._library.events()

    def answer(self, close: CloseConnection) -> bytes:
        """The frame that answers the client's `close`, with its own code."""
        assert self._library is not None  # noqa: S101 - it has read the close
        return self._library.send(close.response())


class _Library(Connection):
    """wsproto, which reads any frame."""

    def __init__(self) -> None:
        super().__init__(ConnectionType.SERVER)
        self._proto = _Frames(client=False, extensions=[])


class _Frames(FrameProtocol):
    """wsproto's frames, with the one close code that it does not know."""

    def _process_close(self, frame: Frame) -> Frame:
        code = _BAD_GATEWAY.to_bytes(2)
        payload = bytes(frame.payload)  # type: ignore[arg-type]  # of a close: bytes
        if payload[:2] != code:
            return super()._process_close(frame)
        normal = CloseReason.NORMAL_CLOSURE.to_bytes(2) + payload[2:]
        read = super()._process_close(frame._replace(payload=normal))
        return read._replace(payload=(_BAD_GATEWAY, str(read.payload[1])))


def _small_frame(data: bytes) -> tuple[Event, bytes] | None:
    """What the frame at the head of `data` says, and the bytes behind it. None: that is
    no short text, ping or pong, or not all of it."""
    if len(data) < _BEFORE_PAYLOAD:
        return None
    kind, size = data[0], data[1] - _MASKED
    end = _BEFORE_PAYLOAD + size
    if not 0 <= size <= _MOST_IN_7_BITS or len(data) < end:
        return None
    mask = (data[2:_BEFORE_PAYLOAD] * (size // 4 + 1))[:size]
    masked = data[_BEFORE_PAYLOAD:end]
    payload = int.from_bytes(masked) ^ int.from_bytes(mask)
    event = _event(kind, payload.to_bytes(size))
    return None if event is None else (event, data[end:])


def _event(kind: int, payload: bytes) -> Event | None:
    if kind == _FINAL_TEXT:
        try:
            return TextMessage(payload.decode())
        except UnicodeDecodeError:
            return None
    if kind == _FINAL_PING:
        return Ping(payload)
    return Pong(payload) if kind == _FINAL_PONG else None
