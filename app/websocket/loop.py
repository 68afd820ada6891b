"""gevent's event loop, for sockets that no greenlet reads or writes.

The loop calls a watcher's function when its socket is ready, or when its time has come.
These functions run between the greenlets, so they must never wait. A function that has
to wait starts a greenlet.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable
from typing import Any

import gevent

READABLE, WRITABLE = 1, 2
"""The events of gevent's `loop.io`."""


def watcher(sock: _socket.socket, events: int) -> Any:  # noqa: ANN401 - gevent has no types
    """A watcher of `sock` for READABLE or WRITABLE. `start(function)` and `stop()` turn
    it on and off. Close it before the socket."""
    return gevent.get_hub().loop.io(sock.fileno(), events)


def call_later(seconds: float, function: Callable[[], None]) -> None:
    """Call `function` in `seconds`. Costs far less than a greenlet that sleeps."""
    # The loop knows the time of its last turn only, if it is not told to look again.
    gevent.get_hub().loop.timer(seconds).start(function, update=True)
