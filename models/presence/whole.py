"""All of the presence state: its shards, and what is asked of many of them at once.

A user, a gateway and a ticket belong to one shard each, by a hash of their name. What a
shard does for its own users is in `models.presence.shard`; here is what crosses shards.
Each of these calls is one round trip, whatever the number of shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, compress
from queue import LifoQueue
from typing import Self

from config import Settings
from models.events import UserStatus
from models.presence import scripts
from models.presence.batches import LOOKUP_BATCH, by_shard
from models.presence.client import Queue, open_servers
from models.presence.errors import PresenceUnavailable
from models.presence.keys import Keys, shard_number, shard_prefixes
from models.presence.line import Command
from models.presence.mail import Mail
from models.presence.overview import Overviews
from models.presence.servers import Link, Servers
from models.presence.shard import Shard
from models.presence.tickets import Tickets


class Presence:
    """The shards, the mail to gateways, the tickets and the overview. Connects on first
    use.

    Methods raise `PresenceUnavailable` where a shard that they need does not answer,
    and may then be repeated.
    """

    def __init__(
        self, settings: Settings, prefixes: Sequence[str], servers: Servers
    ) -> None:
        self._servers = servers
        self._keys = tuple(map(Keys, prefixes))
        self.shards = tuple(
            Shard.open(settings, Link(servers, number), keys)
            for number, keys in enumerate(self._keys)
        )
        self.mail = Mail(servers, self._keys)
        self.tickets = Tickets(servers, self._keys)
        self.overviews = Overviews(servers, self._keys)

    @classmethod
    def open(cls, settings: Settings, queue_class: Queue = LifoQueue) -> Self:
        """The state where the settings say that it is. Whoever waits for a free
        connection waits in a queue of `queue_class`."""
        prefixes = shard_prefixes(settings.shards)
        servers = open_servers(settings, prefixes, queue_class)
        return cls(settings, prefixes, servers)

    def shard_of(self, user_id: str) -> Shard:
        """The shard to which `user_id` belongs."""
        return self.shards[shard_number(user_id, len(self.shards))]

    def statuses(self, user_ids: Iterable[str]) -> list[UserStatus]:
        """The statuses of `user_ids`, in their order.

        After Redis had lost what it knew, no `updated_at` is older than the moment at
        which that was noticed: it beats what was announced before.
        """
        asked = list(user_ids)
        found, away = self._read(asked)
        for error in away.values():
            raise error
        return [found[user_id] for user_id in asked]

    def statuses_where_possible(self, user_ids: Iterable[str]) -> dict[str, UserStatus]:
        """The statuses of those of `user_ids` whose shards answer.

        Raises:
            PresenceUnavailable: no shard at all answers.
        """
        found, away = self._read(user_ids)
        if len(away) == len(self.shards):
            raise away[0]
        return found

    def _read(
        self, user_ids: Iterable[str]
    ) -> tuple[dict[str, UserStatus], dict[int, PresenceUnavailable]]:
        asked = by_shard(user_ids, len(self._keys))
        commands: dict[int, list[Command]] = {}
        for shard, lists in asked.items():
            keys = self._keys[shard]
            shared = [keys.online_users, keys.epoch]
            commands[shard] = [
                scripts.words(
                    "statuses", [*shared, *map(keys.user_status, batch)], batch
                )
                for batch in lists
            ]
        if not commands:
            return {}, {}
        answers = self._servers.gather(commands, scripts=["statuses"])
        found = {
            status.user_id: status
            for shard, replies in answers.replies.items()
            for batch, reply in zip(asked[shard], replies, strict=True)
            for status in map(
                _user_status, batch, reply[0::3], reply[1::3], reply[2::3]
            )
        }
        return found, answers.away

    def online(self, user_ids: Iterable[str]) -> dict[str, bool]:
        """Which of `user_ids` are online, in their order."""
        asked = list(user_ids)
        online, unknown = self.online_where_possible(asked)
        for error in unknown.values():
            raise error
        return {user_id: user_id in online for user_id in asked}

    def online_where_possible(
        self, user_ids: Iterable[str]
    ) -> tuple[set[str], dict[str, PresenceUnavailable]]:
        """Those of `user_ids` who are online, and those of whom it is unknown since
        their shard does not answer, each with the reason."""
        lists = by_shard(user_ids, len(self._keys), LOOKUP_BATCH)
        if not lists:
            return set(), {}
        commands = {
            shard: [
                ("SMISMEMBER", self._keys[shard].online_users, *batch) for batch in mine
            ]
            for shard, mine in lists.items()
        }
        answers = self._servers.gather(commands)
        online: set[str] = set()
        for shard, replies in answers.replies.items():
            for batch, reply in zip(lists[shard], replies, strict=True):
                online.update(compress(batch, reply))
        unknown = {
            user_id: error
            for shard, error in answers.away.items()
            for user_id in chain.from_iterable(lists[shard])
        }
        return online, unknown

    def ping(self) -> None:
        """Return if Redis answers: with many shards, if one of them does. The others'
        users would gain nothing if this process were taken for dead.

        Raises:
            PresenceUnavailable: none does.
        """
        commands: dict[int, list[Command]] = {
            shard.number: [("EXISTS", keys.online_users)]
            for shard, keys in zip(self.shards, self._keys, strict=True)
        }
        answers = self._servers.gather(commands)
        if not answers.replies:
            answers.whole()


def _user_status(
    user_id: str, online: int, updated_at: str | None, last_seen: str | None
) -> UserStatus:
    return UserStatus(
        user_id,
        bool(online),
        int(updated_at or 0),
        int(last_seen) if last_seen else None,
    )
