"""One item that Redis refuses does not hold up the others of its batch.

Anybody may have put something else under a key of ours. A script that meets it fails,
and with it all that the same call was to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from redis.exceptions import ResponseError

log = logging.getLogger(__name__)

SAY_EVERY = 60.0
"""Seconds between two log lines."""

Item = TypeVar("Item")
Reply = TypeVar("Reply")


class _Said:
    """When something was last refused for one item alone."""

    at = float("-inf")


def tolerant(
    batches: Iterable[list[Item]], run: Callable[[list[Item]], Reply]
) -> Iterator[tuple[list[Item], Reply | None, bool]]:
    """Each of `batches`, with what `run` gives for it, and whether it was run for a
    second time. Where Redis refuses a batch, which may be half done then, its items
    come one by one; where it refuses one alone, the reply is None.

    `run` must be one that may be repeated.
    """
    for batch in batches:
        try:
            reply = run(batch)
        except ResponseError as error:
            if len(batch) == 1:
                _say(batch[0], error)
                yield batch, None, True
            else:
                for one, its_reply, _ in tolerant(([item] for item in batch), run):
                    yield one, its_reply, True
        else:
            yield batch, reply, False


def _say(item: object, error: ResponseError) -> None:
    now = time.monotonic()
    if now - _Said.at >= SAY_EVERY:
        _Said.at = now
        log.warning("Redis refuses %s, the others go on: %s", item, error)
