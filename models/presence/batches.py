"""How much one call asks of a server at once, so that nobody else waits for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from models.presence.keys import split

T = TypeVar("T")

SCRIPT_BATCH = 100
"""Users or connections of one script call. Everybody else waits meanwhile: with a
million users online 500 connects held the server for 40 ms at worst, 100 for less than
10, at no cost to the rate (`python -m bench store`, see bench/README.md)."""
LOOKUP_BATCH = 10_000
"""Members asked for in one SMISMEMBER; some 2 ms of the server."""


def batches(items: Iterable[T], size: int = SCRIPT_BATCH) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def by_shard(
    names: Iterable[str], shards: int, size: int = SCRIPT_BATCH
) -> dict[int, list[list[str]]]:
    """`names` by shard, in lists of at most `size`; shards to which none belongs are
    left out."""
    return {
        shard: list(batches(mine, size)) for shard, mine in split(names, shards).items()
    }
