"""Threads for what would make a gateway wait in C: SQLite's writes and long reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

T = TypeVar("T")

MOST_THREADS = 8
"""They are not gevent's own pool, in which names are looked up: where DNS is slow, that
one may be full."""


def in_thread(call: Callable[[], T]) -> T:
    """What `call` gives, called in a thread. Meanwhile other greenlets run.

    It has ended when this returns or raises, even if this greenlet is killed: nobody
    else may use what it works with before.
    """
    result = _pool(gevent.get_hub()).spawn(_outcome, call)
    try:
        value, error = cast("tuple[T, Exception | None]", result.get())
    except BaseException:
        result.wait()
        raise
    if error is not None:
        raise error
    return value


def _outcome(call: Callable[[], T]) -> tuple[T, None] | tuple[None, Exception]:
    """An error is an outcome too: gevent would print a traceback of what is raised."""
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - it is raised where it belongs
        return None, error


@cache
def _pool(hub: Hub) -> ThreadPool:
    return ThreadPool(MOST_THREADS, hub)
