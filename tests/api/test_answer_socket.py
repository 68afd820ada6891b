"""An answer goes out in one piece and whole, however slowly it is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import gevent
import pytest
from gevent.socket import socketpair
from hypothesis import given, settings
from hypothesis import strategies as st

from app.server.answer_socket import MAX_KEPT, AnswerSocket

SMALL = 4096
"""Bytes of the buffers between the two ends: an answer does not fit into them."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        ours.settimeout(5)
        theirs.settimeout(5)
        yield ours, theirs


def is_silent(end: socket.socket) -> bool:
    """Whether nothing has come."""
    end.settimeout(0)
    try:
        end.recv(1)
    except BlockingIOError:
        return True
    finally:
        end.settimeout(5)
    return False


def test_what_is_written_goes_out_together_and_once(ends):
    ours, theirs = ends
    answer = AnswerSocket(ours)
    answer.sendall(b"head ")
    answer.sendall(b"body")
    assert is_silent(theirs)
    answer.flush()
    assert theirs.recv(SMALL) == b"head body"
    answer.flush()
    assert is_silent(theirs)


def test_much_does_not_wait_for_more(ends):
    ours, theirs = ends
    missing = MAX_KEPT + 1
    writing = gevent.spawn(AnswerSocket(ours).sendall, b"." * missing)
    while missing:
        missing -= len(theirs.recv(SMALL))
    writing.get()


def test_an_answer_larger_than_the_buffers_comes_whole(ends):
    ours, theirs = ends
    written = bytes(range(256)) * 1000

    def write() -> None:
        answer = AnswerSocket(ours)
        answer.sendall(b"head")
        for start in range(0, len(written), 1000):
            answer.sendall(written[start : start + 1000])
        answer.flush()
        ours.close()

    writing = gevent.spawn(write)
    read = b"".join(iter(lambda: theirs.recv(1000), b""))
    writing.get()
    assert read == b"head" + written


def test_who_reads_nothing_is_waited_for_so_long_only(ends):
    ours, _ = ends
    ours.settimeout(0.05)
    answer = AnswerSocket(ours)
    answer.sendall(b"." * MAX_KEPT)
    with pytest.raises(TimeoutError):
        answer.flush()


def test_what_is_done_besides_comes_after_what_was_written(ends):
    ours, theirs = ends
    answer = AnswerSocket(ours)
    answer.sendall(b"first ")
    answer.send(b"then")
    assert theirs.recv(SMALL) == b"first then"
    assert answer.gettimeout() == 5


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.binary(max_size=2000), st.none()), max_size=20))
def test_any_writes_are_those_of_a_plain_socket(writes):
    """None stands for a flush, which a plain socket does not need."""
    found = []
    for kind in (AnswerSocket, None):
        ours, theirs = socketpair()
        with ours, theirs:
            sock = kind(ours) if kind else ours
            for data in writes:
                if data is not None:
                    sock.sendall(data)
                elif kind:
                    sock.flush()
            if kind:
                sock.flush()
            ours.shutdown(socket.SHUT_WR)
            found.append(b"".join(iter(lambda: theirs.recv(65536), b"")))  # noqa: B023
    assert found[0] == found[1]
