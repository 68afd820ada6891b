"""What clients send, read by us and by wsproto alone: it has to be the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, TextMessage

from app.websocket.frames import FrameReader

calm = settings(deadline=None, max_examples=300)
"""A busy machine is no failure."""
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = 0x80

Said = list[tuple[object, ...]]


def frame(first: int, payload: bytes, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """A client's frame, of which `first` is the first byte."""
    size = len(payload)
    if size <= 125:
        length = bytes([FINAL | size])
    elif size <= 0xFFFF:
        length = bytes([FINAL | 126]) + size.to_bytes(2)
    else:
        length = bytes([FINAL | 127]) + size.to_bytes(8)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first]) + length + mask + masked


def said(events: list[Event]) -> Said:
    """What `events` say, whatever the parts in which a message came."""
    found: Said = []
    parts = []
    for event in events:
        if isinstance(event, Message):
            parts.append(event.data)
            if event.message_finished:
                empty = type(parts[0])()
                found.append((type(event), empty.join(parts)))
                parts = []
        elif isinstance(event, CloseConnection):
            found.append((type(event), event.code, event.reason))
        else:
            found.append((type(event), bytes(event.payload)))
    return [*found, ("unfinished", *map(bool, parts))] if any(parts) else found


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data`, cut after `cuts` bytes."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def read_by_us(parts: list[bytes]) -> tuple[Said, bool]:
    inbound = FrameReader()
    found: list[Event] = []
    for part in parts:
        found += inbound.events(part)
        if found and isinstance(found[-1], CloseConnection):
            break
    return said(found), inbound.is_closed


def read_by_wsproto(parts: list[bytes]) -> tuple[Said, bool]:
    library = Connection(ConnectionType.SERVER)
    found: list[Event] = []
    for part in parts:
        library.receive_data(part)
        found += library.events()
        if found and isinstance(found[-1], CloseConnection):
            break
    return said(found), library.state.name != "OPEN"


payloads = st.one_of(
    st.text(max_size=60).map(str.encode),
    st.binary(max_size=200),
    st.sampled_from([0, 1, 124, 125, 126, 127, 65_535, 65_536]).map(bytes),
)
frames = st.builds(
    frame,
    st.one_of(
        st.sampled_from([TEXT, BINARY, CLOSE, PING, PONG]).map(FINAL.__or__),
        st.just(FINAL | TEXT),
        st.integers(0, 255),
    ),
    payloads,
    st.binary(min_size=4, max_size=4),
)
streams = st.one_of(st.lists(frames, max_size=6).map(b"".join), st.binary(max_size=40))


@calm
@given(streams, st.lists(st.integers(0, 100_000), max_size=8))
def test_any_bytes_in_any_pieces(data, cuts):
    parts = pieces(data, cuts)
    ours = read_by_us(parts)
    if ours[0] and ours[0][-1][:2] == (CloseConnection, 1014):
        return  # the one that it does not know
    assert ours == read_by_wsproto(parts)


def test_small_frames_need_no_library():
    inbound = FrameReader()
    beat = frame(FINAL | TEXT, b'{"event":"heartbeat"}')
    found = list(inbound.events(beat + frame(FINAL | PING, b"?") + beat))
    assert said(found) == [
        (TextMessage, '{"event":"heartbeat"}'),
        (Ping, b"?"),
        (TextMessage, '{"event":"heartbeat"}'),
    ]
    assert inbound._library is None


def test_the_library_goes_when_the_unusual_message_has_ended():
    inbound = FrameReader()
    beat = frame(FINAL | TEXT, b'{"event":"heartbeat"}')
    first, rest = frame(TEXT, b"a"), frame(FINAL, b"b")
    for part in (first, rest[:3]):
        list(inbound.events(part))
        assert inbound._library is not None
    list(inbound.events(rest[3:] + beat))
    assert inbound._library is None
    assert said(list(inbound.events(beat))) == [(TextMessage, '{"event":"heartbeat"}')]


def test_a_close_is_answered_with_its_own_code():
    inbound = FrameReader()
    text = frame(FINAL | TEXT, b"x")
    *_, close = inbound.events(text + frame(FINAL | CLOSE, b"\x0f\xa0bye"))
    assert isinstance(close, CloseConnection)
    assert inbound.is_closed
    assert inbound.answer(close) == b"\x88\x05\x0f\xa0bye"


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_frame_that_comes_in_two_pieces(cut):
    inbound = FrameReader()
    data = frame(FINAL | TEXT, b"x" * 20)
    found = [*inbound.events(data[:cut]), *inbound.events(data[cut:] + data)]
    assert said(found) == [(TextMessage, "x" * 20)] * 2
