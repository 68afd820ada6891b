"""The whole state in a few numbers, for whoever watches over the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.presence.keys import Keys
from models.presence.redis import scripts
from models.presence.redis.backend import Servers
from models.presence.redis.roundtrip import Command


@dataclass(frozen=True, slots=True)
class Overview:
    """All shards that answer, at one moment."""

    online: int
    gateways: int
    """Of the shard that knows most: every gateway is in each of them."""
    overdue_gateways: int
    """Those of `gateways` whose deadline has passed and whom no sweep took away yet."""
    outbox: int
    """Transitions that wait to be broadcast."""
    sweeps_held: int
    """Shards in which the breaker holds the sweeps now."""
    sweep_holds: int
    """How many times sweeps have begun to hold since the state began."""
    last_sweep_age: int | None
    """Milliseconds, of the shard that was swept longest ago; None where one never was
    yet."""
    epoch: int
    """When it was last noticed that Redis had lost what it knew (ms); 0 for never."""
    shards_away: int
    """Shards that did not answer, and are not counted in."""


class Overviews:
    """Reads the overview of all shards."""

    def __init__(self, servers: Servers, keys: Sequence[Keys]) -> None:
        self._servers = servers
        self._commands: dict[int, list[Command]] = {
            number: [
                scripts.words(
                    "overview",
                    [
                        shard.online_users,
                        shard.gateways,
                        shard.transitions,
                        shard.sweeps,
                        shard.epoch,
                    ],
                    [],
                )
            ]
            for number, shard in enumerate(keys)
        }

    def read(self) -> Overview:
        """Read it, in one round trip. Changes nothing.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        answers = self._servers.gather(self._commands, scripts=["overview"])
        if not answers.replies:
            answers.whole()
        shards = [list(map(int, reply)) for (reply,) in answers.replies.values()]
        now, online, gateways, overdue, outbox, held, holds, last, epoch = zip(
            *shards, strict=True
        )
        ages = [at - swept for at, swept in zip(now, last, strict=True)]
        return Overview(
            online=sum(online),
            gateways=max(gateways),
            overdue_gateways=max(overdue),
            outbox=sum(outbox),
            sweeps_held=sum(map(bool, held)),
            sweep_holds=sum(holds),
            last_sweep_age=max(ages) if all(last) else None,
            epoch=max(epoch),
            shards_away=len(answers.away),
        )
