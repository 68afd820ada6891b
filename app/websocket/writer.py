"""The one writer of a socket, with a bounded queue.

What the kernel takes at once is written at once; only the rest waits, for a greenlet of
its own. Tried before: a queue and a writer greenlet for every socket all the time cost
three times as much.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress

import gevent

from app.gateway.counts import Counts


class Outbound:
    """What goes out on one socket, whole frames in order."""

    __slots__ = (
        "_counts",
        "_is_ending",
        "_most_bytes",
        "_queue",
        "_queued",
        "_socket",
        "_writer",
    )

    def __init__(self, sock: socket.socket, most_bytes: int, counts: Counts) -> None:
        self._socket = sock
        self._counts = counts
        self._most_bytes = most_bytes
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._writer: gevent.Greenlet[..., None] | None = None
        self._is_ending = False

    def write(self, data: bytes) -> bool:
        """Write `data`; never waits. False where the queue is over its bound: the
        client does not read, and should be closed.

        The bound is for what waits behind the piece that is being written, and before
        `data`: a snapshot may be larger than all of it, and who reads that is not slow.
        """
        if self._writer is None:
            try:
                # gevent: with a timeout of 0 it raises instead of waiting.
                sent = self._socket.send(data, 0, 0.0)  # type: ignore[call-arg]
            except BlockingIOError:
                sent = 0
            except OSError:
                self.cut()  # the reader sees the end
                return True
            if sent == len(data):
                return True
            data = data[sent:]
        self._queue.append(data)
        self._add(len(data))
        if self._writer is None:
            self._writer = gevent.spawn(self._write_queue)
            self._counts.queuing += 1
        waiting = self._queued - len(self._queue[0])
        if len(self._queue) > 1:
            waiting -= len(data)
        return waiting <= self._most_bytes

    def end(self, data: bytes) -> None:
        """Write `data` as the last of all, and then end our half of the socket.

        Of what is queued only the frame that may be half written is kept. The other
        half stays open: unread bytes of the client would turn the end into a reset.
        """
        if self._queue:
            first = self._queue[0]
            self._queue.clear()
            self._queue.append(first)
            self._add(len(first) - self._queued)
        self._is_ending = True
        self.write(data)
        if self._writer is None:
            self._end()

    def wait(self, seconds: float) -> None:
        """Wait until everything is written, `seconds` at most."""
        if self._writer is not None:
            self._writer.join(seconds)

    def cut(self) -> None:
        """End the socket without another word; wakes whoever reads or writes it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _add(self, size: int) -> None:
        """`size` bytes more are queued, or less."""
        self._queued += size
        self._counts.queued_bytes += size

    def _end(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _write_queue(self) -> None:
        try:
            while self._queue:
                data = self._queue[0]
                sent = self._socket.send(data)
                self._add(-sent)
                if sent == len(data):
                    self._queue.popleft()
                else:
                    self._queue[0] = data[sent:]
            if self._is_ending:
                self._end()
        except OSError:
            self._queue.clear()
            self._add(-self._queued)
            self.cut()
        finally:
            self._writer = None
            self._counts.queuing -= 1
