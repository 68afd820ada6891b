"""How much one call asks of a server at once, so that nobody else waits for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from models.presence.keys import split

T = TypeVar("T")

SCRIPT_BATCH = 100
"""Users or connections of one script call. Everybody else waits meanwhile, 2 to 4 ms at
worst with a million users online; heartbeats of 50 each would cost 7 % of the rate
(`python -m bench store`, see bench/README.md)."""
CONNECT_BATCH = 50
"""New connections of one script call. While Valkey moves to a larger table, which it
does as users double, each of them takes it six times as long: at a million 100 held it
for 7 to 15 ms, 50 for half of that, at 3 % of the rate."""
ADOPT_BATCH = 2_000
"""Users whom one sweep looks at in search of such without a deadline; some 2 ms of the
server, and only where the state was damaged."""
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
