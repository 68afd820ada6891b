"""Who reads too slowly, and who only has much to read."""

from __future__ import annotations

from contextlib import ExitStack

import gevent.socket
import pytest
from gevent.event import Event

from app.server.answer_socket import detached
from app.websocket.writer import SocketCounts, Writer

MAX_QUEUED = 10_000
SNAPSHOT = b"s" * 1_000_000
EVENT = b"e" * 100


@pytest.fixture
def pair():
    """A `Writer` with a bound of `MAX_QUEUED` bytes, and the other end of its socket.
    The kernel takes little, as on a line to another machine."""
    with ExitStack() as stack:
        ours, theirs = map(stack.enter_context, gevent.socket.socketpair())
        ours.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_SNDBUF, 4096)
        theirs.settimeout(5)
        writer = Writer(detached(ours), MAX_QUEUED, SocketCounts())
        stack.callback(writer.close)
        yield writer, theirs


def read(sock, size):
    while size > 0:
        size -= len(sock.recv(size))


def test_a_snapshot_may_be_larger_than_what_may_wait(pair):
    outbound, theirs = pair
    assert outbound.write(SNAPSHOT)
    assert outbound.write(EVENT)
    read(theirs, len(SNAPSHOT) + len(EVENT))
    assert outbound.write(SNAPSHOT)
    read(theirs, len(SNAPSHOT))


def test_a_snapshot_may_come_behind_an_event(pair):
    outbound, theirs = pair
    size = 0
    while outbound._queue is None:
        assert outbound.write(EVENT)
        size += len(EVENT)
    assert outbound.write(SNAPSHOT)
    read(theirs, size + len(SNAPSHOT))


def test_who_does_not_read_reaches_the_bound(pair):
    outbound, _ = pair
    assert outbound.write(SNAPSHOT)
    taken = 0
    while outbound.write(EVENT):
        taken += len(EVENT)
        assert taken <= MAX_QUEUED + len(EVENT)
    assert taken == MAX_QUEUED + len(EVENT)


def test_the_end_is_told_when_all_bytes_are_written(pair):
    outbound, theirs = pair
    ended = Event()
    outbound.write(SNAPSHOT)
    outbound.write(EVENT)
    outbound.finish(ended.set)
    assert not ended.is_set()
    read(theirs, len(SNAPSHOT) + len(EVENT))
    assert ended.wait(5)


def test_the_end_is_told_when_the_client_has_gone(pair):
    outbound, theirs = pair
    ended = Event()
    outbound.write(SNAPSHOT)
    outbound.finish(ended.set)
    theirs.close()
    assert ended.wait(5)
