"""The one writer of a socket, with a bounded queue.

The writer gives bytes to the kernel at once. If the kernel does not take all of them,
the writer queues the rest, and starts a greenlet for that socket. We also tried a
permanent queue and greenlet for every socket. That costs three times as much.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field

import gevent


@dataclass(slots=True)
class SocketCounts:
    """What the WebSockets of one process have done, as plain numbers. Counting costs
    one addition; `app.gateway.metrics` publishes the numbers once a second."""

    handshakes: int = 0
    """Handshakes answered, including sockets that were refused afterwards."""
    frames: int = 0
    """Frames that clients sent."""
    closes: Counter[str] = field(default_factory=Counter)
    """Ended connections, by close code, or by the words `BY_CLIENT` and `LOST` of
    `app.websocket.connection`."""
    sockets: int = 0
    """Open WebSockets, including those that are being refused or closed."""
    queuing: int = 0
    """Sockets that have a queue now."""
    queued_bytes: int = 0
    """Bytes in those queues."""


class Writer:
    """Writes whole frames to one socket, in order."""

    __slots__ = (
        "_counts",
        "_greenlet",
        "_is_ending",
        "_max_bytes",
        "_queue",
        "_queued",
        "_socket",
    )

    def __init__(
        self, sock: socket.socket, max_bytes: int, counts: SocketCounts
    ) -> None:
        self._socket = sock
        self._counts = counts
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._is_ending = False

    def write(self, data: bytes) -> bool:
        """Write `data` without waiting. Returns False if the queue is over its limit:
        the client does not read, and the caller should close the connection.

        The limit does not count the data that is being written now, nor `data` itself.
        A snapshot may be larger than the limit, and a client that is reading one is not
        slow.
        """
        if self._greenlet is None:
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
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._write_queue)
            self._counts.queuing += 1
        waiting = self._queued - len(self._queue[0])
        if len(self._queue) > 1:
            waiting -= len(data)
        return waiting <= self._max_bytes

    def end(self, data: bytes) -> None:
        """Write `data` as the last bytes, then shut down our half of the socket.

        Queued frames are dropped, except the first, which may be half written. The
        client's half stays open. If we closed it too while bytes are unread, the client
        would get a reset.
        """
        if self._queue:
            first = self._queue[0]
            self._queue.clear()
            self._queue.append(first)
            self._add(len(first) - self._queued)
        self._is_ending = True
        self.write(data)
        if self._greenlet is None:
            self._shut_down_writing()

    def wait(self, seconds: float) -> None:
        """Wait until the queue is written, but at most `seconds`."""
        if self._greenlet is not None:
            self._greenlet.join(seconds)

    def cut(self) -> None:
        """Shut down both halves of the socket. This wakes its reader and its writer."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _add(self, size: int) -> None:
        """Add `size`, which may be negative, to the counts of queued bytes."""
        self._queued += size
        self._counts.queued_bytes += size

    def _shut_down_writing(self) -> None:
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
                self._shut_down_writing()
        except OSError:
            self._queue.clear()
            self._add(-self._queued)
            self.cut()
        finally:
            self._greenlet = None
            self._counts.queuing -= 1
