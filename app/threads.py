"""Threads for calls that would block a whole gateway, because they wait in C: writes
and long reads in SQLite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

T = TypeVar("T")

MAX_THREADS = 8
"""We do not use gevent's own pool, because gevent resolves host names in it. If DNS is
slow, that pool may be full."""


def in_thread(call: Callable[[], T]) -> T:
    """Run `call` in a thread and return its result. Other greenlets run at the same
    time.

    When this function returns or raises, `call` has ended, even if this greenlet was
    killed. So afterwards others may use the objects that `call` uses.
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
    """The result or the error of `call`. The error is not raised in the thread, because
    gevent would print its traceback."""
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - raised again in the caller's greenlet
        return None, error


@cache
def _pool(hub: Hub) -> ThreadPool:
    return ThreadPool(MAX_THREADS, hub)
