"""Our WebSocket frames, read by wsproto as a client would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Pong, TextMessage

from app.websocket.frames import MAX_REASON_BYTES, close_frame, pong_frame, text_frame
from models.events import CloseCode

# Where the length field grows, and around it.
SIZES = [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 200_000]
CODES = [int(code) for code in CloseCode]

calm = settings(deadline=None, max_examples=50)
"""A busy machine is no failure."""


def read(data: bytes, step: int | None = None) -> list[Event]:
    """The events in `data`, which comes in pieces of `step` bytes."""
    client = Connection(ConnectionType.CLIENT)
    step = step or max(1, len(data))
    found: list[Event] = []
    for start in range(0, len(data), step):
        client.receive_data(data[start : start + step])
        found += client.events()
    return found


def text_of(found: list[Event]) -> str:
    assert all(isinstance(event, TextMessage) for event in found)
    assert [event.message_finished for event in found][-1]
    return "".join(event.data for event in found)


@pytest.mark.parametrize("size", SIZES)
def test_text_frames_of_every_length_form(size):
    assert text_of(read(text_frame(b"x" * size))) == "x" * size
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(text_frame(b"x" * size)) == size + header


@calm
@given(st.text(max_size=400), st.integers(1, 50))
def test_any_text_in_any_pieces(text, step):
    found = read(text_frame(text.encode()), step)
    assert text_of(found) == text
    assert sum(event.message_finished for event in found) == 1


@calm
@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_frames_may_be_joined(texts):
    """Several events for one socket go out in one send."""
    joined = b"".join(text_frame(text.encode()) for text in texts)
    messages, parts = [], ""
    for event in read(joined):
        parts += event.data
        if event.message_finished:
            messages.append(parts)
            parts = ""
    assert messages == texts


@calm
@given(st.sampled_from(CODES), st.text(max_size=200))
def test_close_frames(code, reason):
    (event,) = read(close_frame(code, reason))
    assert isinstance(event, CloseConnection)
    assert event.code == code
    assert reason.startswith(event.reason or "")
    if len(reason.encode()) <= MAX_REASON_BYTES:
        assert (event.reason or "") == reason
    else:
        assert len((event.reason or "").encode()) > MAX_REASON_BYTES - 4


def test_a_long_reason_is_cut_between_characters():
    (event,) = read(close_frame(1013, "x" + "é" * 100))
    assert event.reason == "x" + "é" * 61


@calm
@given(st.binary(max_size=125))
def test_pong_frames(payload):
    (event,) = read(pong_frame(payload))
    assert isinstance(event, Pong)
    assert event.payload == payload
