"""How much work one call gives a server at once, and how a batch survives a bad item.

A server runs one script at a time, and all other clients wait. So a script must be
short. Another program may have stored a value of another type under one of our keys. A
script that meets such a key fails as a whole. Its items then run one by one, and only
the bad item is left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from models.batches import batches
from models.presence.errors import CommandRefused
from models.presence.keys import split
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command

log = logging.getLogger(__name__)

T = TypeVar("T")

SCRIPT_BATCH = 100
"""Users or connections of one script call. With a million users online, such a call
takes the server 2 to 4 ms at worst. With batches of 50, the server would handle 7 %
fewer heartbeats a second (`python -m bench store`, see bench/README.md)."""
CONNECT_BATCH = 50
"""New connections of one script call. When the number of users has doubled, Valkey
moves to a larger table, and each connection takes six times as long during that time.
At a million users, 100 connections then took 7 to 15 ms. 50 take half of that, and cost
3 % of the rate."""
ADOPT_BATCH = 2_000
"""Users that one sweep checks for a missing deadline. This happens only if the state
was damaged, and takes the server about 2 ms."""
LOOKUP_BATCH = 10_000
"""Members of one SMISMEMBER, which takes the server about 2 ms."""
LOG_EVERY = 60.0
"""Seconds between two log lines about refused items."""


class _Logged:
    """When the last refused item was logged."""

    at = float("-inf")


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
    """Send the commands for each batch. Yields the batch, the replies, and whether the
    commands ran for the second time.

    If Redis refuses a batch, some of its commands may have run already. The items of
    the batch then run again, each as a batch of its own. If Redis refuses a single
    item, the replies are None. The commands must be harmless when they are repeated.
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
