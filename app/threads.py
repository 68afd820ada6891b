"""Threads for what would make a gateway wait in C: SQLite's writes and long reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

MOST_THREADS = 8
"""They are not gevent's own pool, in which names are looked up: where DNS is slow, that
one may be full."""


def in_thread(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `call` gives
    """What `call` gives, called in a thread. Meanwhile other greenlets run.

    It has ended when this returns or raises, even if this greenlet is killed: nobody
    else may use what it works with before.
    """
    result = _pool(gevent.get_hub()).spawn(call)
    try:
        return result.get()
    except BaseException:
        result.wait()
        raise


@cache
def _pool(hub: Hub) -> ThreadPool:
    return ThreadPool(MOST_THREADS, hub)
