"""The one writer of a socket, with a bounded queue.

The writer gives bytes to the kernel at once. If the kernel does not take all of them,
the writer queues the rest, and the event loop calls it when the socket takes more.
Nothing here waits, so no greenlet is needed.
"""

from __future__ import annotations

import _socket
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.websocket.loop import WRITABLE, watcher


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
    """Writes whole frames to one socket, in order. No call blocks."""

    __slots__ = (
        "_counts",
        "_max_bytes",
        "_on_end",
        "_queue",
        "_queued",
        "_socket",
        "_watcher",
    )

    def __init__(
        self, sock: _socket.socket, max_bytes: int, counts: SocketCounts
    ) -> None:
        self._socket = sock
        self._counts = counts
        self._max_bytes = max_bytes
        # Most sockets never need a queue, and an empty one takes 600 bytes.
        self._queue: deque[bytes] | None = None
        self._queued = 0
        self._watcher: Any = None
        self._on_end: Callable[[], None] | None = None

    def write(self, data: bytes) -> bool:
        """Write `data` without waiting. Returns False if the queue is over its limit:
        the client does not read, and the caller should close the connection.

        The limit does not count the data that is being written now, nor `data` itself.
        A snapshot may be larger than the limit, and a client that is reading one is not
        slow.
        """
        queue = self._queue
        if queue is None:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.cut()  # the reader sees the end
                return True
            if sent == len(data):
                return True
            self._start_queue(data[sent:])
            return True
        queue.append(data)
        self._add(len(data))
        return self._queued - len(queue[0]) - len(data) <= self._max_bytes

    def end(self, data: bytes, on_end: Callable[[], None]) -> None:
        """Write `data` as the last bytes, and call `on_end` like `finish`.

        Queued frames are dropped, except the first, which may be half written.
        """
        if self._queue is not None:
            first = self._queue[0]
            self._queue.clear()
            self._queue.append(first)
            self._add(len(first) - self._queued)
        self.write(data)
        self.finish(on_end)

    def finish(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` when the kernel has taken all bytes, or will take none because
        the client has gone. This replaces an earlier `on_end`. Nothing may be written
        after this call."""
        if self._queue is None:
            on_end()
        else:
            self._on_end = on_end

    def shut_down(self) -> None:
        """Shut down our half of the socket, after the last bytes. The client's half
        stays open. If we closed it too while bytes are unread, the client would get a
        reset."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Shut down both halves of the socket. Its reader sees the end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forget what is queued, and close the socket."""
        self._end_queue()
        self._on_end = None
        self._socket.close()

    def _add(self, size: int) -> None:
        """Add `size`, which may be negative, to the counts of queued bytes."""
        self._queued += size
        self._counts.queued_bytes += size

    def _start_queue(self, data: bytes) -> None:
        self._queue = deque((data,))
        self._add(len(data))
        self._counts.queuing += 1
        self._watcher = watcher(self._socket, WRITABLE)
        self._watcher.start(self._write_queue)

    def _end_queue(self) -> None:
        if self._queue is None:
            return
        self._queue = None
        self._add(-self._queued)
        self._counts.queuing -= 1
        self._watcher.close()
        self._watcher = None

    def _write_queue(self) -> None:
        """The socket takes bytes again. Called by the event loop."""
        queue = self._queue
        assert queue is not None  # noqa: S101 - the watcher ends with the queue
        try:
            while queue:
                data = queue[0]
                sent = self._socket.send(data)
                self._add(-sent)
                if sent < len(data):
                    queue[0] = data[sent:]
                    return
                queue.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.cut()  # the reader sees the end
        self._end_queue()
        if self._on_end is not None:
            self._on_end()
