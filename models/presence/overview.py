"""The state of a shard in a few numbers, for whoever watches over the system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from models.presence.errors import translated
from models.presence.keys import Keys


@dataclass(frozen=True, slots=True)
class Overview:
    """One shard at one moment. Times are ms of Redis's clock."""

    now: int
    online: int
    gateways: int
    overdue_gateways: int
    """Those of `gateways` whose deadline has passed and whom no sweep took away yet."""
    outbox: int
    """Transitions that wait to be broadcast."""
    sweeps_held: bool
    sweep_holds: int
    """How many times sweeps have begun to hold since the state began."""
    last_sweep: int | None
    """None where none has run yet."""
    epoch: int
    """When it was last noticed that Redis had lost what it knew; 0 for never."""


class Overviews:
    """Reads the overview of one shard."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys

    def read(self) -> Overview:
        """Read it, in one round trip. Costs O(gateways), changes nothing.

        Raises:
            PresenceUnavailable: Redis did not answer.
        """
        keys = self._keys
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.scard(keys.online_users)
            pipe.zrange(keys.gateways, 0, -1, withscores=True)
            pipe.xlen(keys.transitions)
            pipe.hgetall(keys.sweeps)
            pipe.get(keys.epoch)
            return _overview(*pipe.execute())


def _overview(
    time: tuple[int, int],
    online: int,
    gateways: list[tuple[str, float]],
    outbox: int,
    sweeps: Mapping[str, str],
    epoch: Any,  # noqa: ANN401 - text or None
) -> Overview:
    now = time[0] * 1000 + time[1] // 1000
    return Overview(
        now=now,
        online=online,
        gateways=len(gateways),
        overdue_gateways=sum(deadline <= now for _, deadline in gateways),
        outbox=outbox,
        sweeps_held="held_since" in sweeps,
        sweep_holds=int(sweeps.get("holds", 0)),
        last_sweep=int(sweeps["last"]) if "last" in sweeps else None,
        epoch=int(epoch or 0),
    )
