"""How much work one call gives a server at once, and how a batch survives a bad item.

A server does one script at a time, so every other client waits for the longest one.
Another program may have stored something else under one of our keys. A script that
meets such a key fails as a whole. Its items then run one by one, and only the bad one
is left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from models.presence.errors import CommandRefused
from models.presence.keys import split
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command

log = logging.getLogger(__name__)

T = TypeVar("T")

SCRIPT_BATCH = 100
"""Users or connections of one script call. With a million users online it takes the
server 2 to 4 ms at worst. Heartbeats in batches of 50 would cost 7 % of the rate
(`python -m bench store`, see bench/README.md)."""
CONNECT_BATCH = 50
"""New connections of one script call. Each takes six times as long while Valkey moves
to a larger table, which it does when the users double. At a million users 100 of them
took 7 to 15 ms. 50 take half of that, at 3 % of the rate."""
ADOPT_BATCH = 2_000
"""Users that one sweep checks for a missing deadline. It takes the server some 2 ms,
and only if the state was damaged."""
LOOKUP_BATCH = 10_000
"""Members of one SMISMEMBER, which takes the server some 2 ms."""
LOG_EVERY = 60.0
"""Seconds between two log lines about refused items."""


class _Logged:
    """When the last refused item was logged."""

    at = float("-inf")


def batches(items: Iterable[T], size: int = SCRIPT_BATCH) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def by_shard(
    names: Iterable[str], shards: int, size: int = SCRIPT_BATCH
) -> dict[int, list[list[str]]]:
    """`names` by shard, in lists of at most `size`. Shards without names are left
    out."""
    return {
        shard: list(batches(mine, size)) for shard, mine in split(names, shards).items()
    }


def run_in_batches(
    backend: Backend,
    shard: int,
    batches: Iterable[list[T]],
    commands_for: Callable[[list[T]], Sequence[Command]],
) -> Iterator[tuple[list[T], list[Any] | None, bool]]:
    """Send the commands for each batch, and yield it with their replies.

    If Redis refuses a batch, which may be half done then, its items run again one by
    one. The last field of what is yielded says so. If Redis refuses a single item, the
    replies are None. The commands must be ones that may be repeated.
    """
    for batch in batches:
        try:
            replies = backend.run(shard, commands_for(batch))
        except CommandRefused as error:
            if len(batch) == 1:
                _log_refused(batch[0], error)
                yield batch, None, True
                continue
            singles = ([item] for item in batch)
            for single, its_replies, _ in run_in_batches(
                backend, shard, singles, commands_for
            ):
                yield single, its_replies, True
        else:
            yield batch, replies, False


def _log_refused(item: object, error: CommandRefused) -> None:
    now = time.monotonic()
    if now - _Logged.at >= LOG_EVERY:
        _Logged.at = now
        log.warning("Redis refused %s; the others were done: %s", item, error)
