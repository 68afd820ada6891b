"""Threads for calls that would block a gateway in C: SQLite's writes and long reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

T = TypeVar("T")

MAX_THREADS = 8
"""These threads are not gevent's own pool, which resolves names. If DNS is slow, that
pool may be full."""


def in_thread(call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread. Meanwhile other greenlets run.

    When this returns or raises, `call` has ended, even if this greenlet was killed.
    Only then may others use what `call` works with.
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
    """The result or the error of `call`. gevent would print the traceback of an error
    that is raised in the thread."""
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - raised again in the caller's greenlet
        return None, error


@cache
def _pool(hub: Hub) -> ThreadPool:
    return ThreadPool(MAX_THREADS, hub)
