"""The way from a shard to the server that holds it, and from all shards to all servers.

Everything of one shard lies on one server, so a shard's own parts work with a plain
client. What concerns many shards is gathered: one round trip, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, TypeVar

import redis

from models.presence.errors import PresenceUnavailable, translated
from models.presence.redis.roundtrip import Command
from models.presence.redis.scripts import pipelined

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answers:
    """What `gather` brought: the replies by shard, and why others did not answer."""

    replies: dict[int, list[Any]]
    away: dict[int, PresenceUnavailable] = field(default_factory=dict)

    def whole(self) -> dict[int, list[Any]]:
        """The replies of all shards that were asked.

        Raises:
            PresenceUnavailable: one of them did not answer.
        """
        for error in self.away.values():
            raise error
        return self.replies


class Servers(Protocol):
    """All servers of the presence state."""

    def call(self, shard: int, command: Callable[[redis.Redis], T]) -> T:
        """What `command` gives, called with a client of the server of `shard`. It may
        be called twice, so it has to be one that may be repeated.

        Raises:
            PresenceUnavailable: that server did not answer.
        """

    def gather(
        self, commands: Mapping[int, Sequence[Command]], scripts: Collection[str] = ()
    ) -> Answers:
        """Send the `commands` of each shard, in one round trip, not in one step.
        `scripts` are the names of those that they run, if they do. They may be
        repeated."""


@dataclass(frozen=True, slots=True)
class Link:
    """The way to the server of one shard."""

    servers: Servers
    shard: int

    def call(self, command: Callable[[redis.Redis], T]) -> T:
        """As `Servers.call`."""
        return self.servers.call(self.shard, command)


def dealt(
    commands: Mapping[int, Sequence[Command]], replies: Sequence[Any]
) -> dict[int, list[Any]]:
    """`replies`, which are in the order of `commands`, by shard."""
    rest = iter(replies)
    return {shard: [next(rest) for _ in mine] for shard, mine in commands.items()}


class OneServer:
    """One Redis, or the one that is primary now: all shards are there."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def call(self, _shard: int, command: Callable[[redis.Redis], T]) -> T:
        """As `Servers.call`."""
        with translated:
            return command(self._redis)

    def gather(
        self, commands: Mapping[int, Sequence[Command]], scripts: Collection[str] = ()
    ) -> Answers:
        """As `Servers.gather`."""
        together = list(chain.from_iterable(commands.values()))
        try:
            with translated:
                replies = pipelined(self._redis, together, scripts)
        except PresenceUnavailable as error:
            return Answers({}, dict.fromkeys(commands, error))
        return Answers(dealt(commands, replies))
