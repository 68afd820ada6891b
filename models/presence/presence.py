"""The presence state: its shards, and questions to many shards at once.

Each user belongs to one shard, by a hash of the id, and so does each ticket and the
stream of each gateway. But every gateway is registered in all shards. A `Shard` works
with one shard only. `Presence` asks all shards that a call needs in one round trip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from queue import LifoQueue
from typing import NamedTuple, Self

from config import Settings
from models.events import UserStatus
from models.identifiers import joined_ids
from models.presence.batches import LOOKUP_BATCH, by_shard
from models.presence.crowds import Crowds
from models.presence.errors import PresenceUnavailable
from models.presence.gateway_settings import GatewaySettings
from models.presence.gateway_streams import GatewayStreams
from models.presence.gateways import GatewayStore
from models.presence.inspection import MAX_WAITING, Inspection, inspection_of
from models.presence.keys import Keys, receiver_id, shard_number, shard_prefixes
from models.presence.limits import Limits
from models.presence.outbox import Outbox
from models.presence.redis.backend import Backend
from models.presence.redis.client import Queue, open_backend
from models.presence.redis.commands import Command, run_script
from models.presence.replies import (
    full_status,
    time_of,
    user_status,
    with_activity,
)
from models.presence.rules import has_settled
from models.presence.samples import RecentTransitions, Samples
from models.presence.servers import Servers
from models.presence.store import PresenceStore
from models.presence.tickets import Tickets
from models.presence.unstored import UnstoredTransitions
from models.presence.webhooks import Webhooks
from models.presence.worker_counts import WorkerCounts
from models.telemetry import causes
from models.visibility import Clock

PROBE_TTL_MS = 10_000
"""Milliseconds after which the key that `check_writes` sets expires."""
_REFUSED = -1


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard and its parts. Each shard has its own outbox, its own drainer and its
    own sweeps. Every gateway is registered in it."""

    number: int
    store: PresenceStore
    outbox: Outbox
    crowds: Crowds
    gateways: GatewayStore
    unstored: UnstoredTransitions

    @classmethod
    def open(cls, settings: Settings, backend: Backend, keys: Keys) -> Self:
        """Make the parts from the settings."""
        return cls(
            number=keys.shard,
            store=PresenceStore(
                backend,
                keys,
                online_ttl=settings.online_ttl,
                offline_ttl=settings.offline_ttl,
                max_connections_per_user=settings.max_connections_per_user,
            ),
            outbox=Outbox(
                backend, keys, [receiver_id(url) for url in settings.webhook_urls]
            ),
            crowds=Crowds(backend, keys),
            gateways=GatewayStore(
                backend,
                keys,
                online_ttl=settings.online_ttl,
                gateway_ttl=settings.gateway_ttl,
            ),
            unstored=UnstoredTransitions(backend, keys),
        )


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of all shards that answer, in a few numbers."""

    online: int
    gateways: int
    """Gateways in the shard that has most. Every gateway is registered in all shards,
    but after an outage some shards may lack gateways for a moment."""
    overdue_gateways: int
    """How many of `gateways` have missed their deadline. A sweep will remove them."""
    outbox: int
    """Transitions that wait to be broadcast."""
    unstored: int
    """Transitions that were broadcast and wait to be stored in SQL."""
    sweeps_held: int
    """Shards in which sweeps expire nobody now, because the mass expiry guard holds
    them."""
    sweep_holds: int
    """How many times the guard has begun to hold sweeps, since Redis was last empty."""
    last_sweep_age: int | None
    """Milliseconds since the last sweep. If the shards differ, this is the longest
    time. None if a shard was never swept."""
    epoch: int
    """When a loss of state in Redis was last noticed (ms); 0 for never."""
    shards_away: int
    """Shards that did not answer. The other numbers leave them out."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How many users, connections and gateways there are now."""

    online_users: int
    connections: int
    """As each gateway said in its last heartbeat."""
    gateways: int


@dataclass(frozen=True, slots=True)
class GatewayLoad:
    """A gateway process that Redis knows, and what it serves."""

    gateway_id: str
    connections: int
    """As the gateway said in its last heartbeat."""
    users: int
    silent_for: int
    """Milliseconds since its last heartbeat, in the shard that has heard it last."""
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class Statuses:
    """The statuses of users, and the clocks of their shards at the time of the read."""

    found: dict[str, UserStatus]
    clocks: dict[int, Clock]
    """By shard."""
    shards: int
    """How many shards there are."""

    def clock_of(self, user_id: str) -> Clock:
        """The clock of the shard of `user_id`."""
        return self.clocks[shard_number(user_id, self.shards)]

    @property
    def read_at(self) -> int:
        """The earliest time of these clocks (ms), or 0 without users."""
        return min((clock.now for clock in self.clocks.values()), default=0)


@dataclass(frozen=True, slots=True)
class ChangeStart:
    """A number of a user's sequence (ms), and the user's real status and clock then."""

    timestamp: int
    real: UserStatus
    clock: Clock


class OnlineCursor(NamedTuple):
    """Where a page of online users begins: in the set of a shard, at a position of
    Redis's own scan, after an id."""

    shard: int = 0
    scan: str = "0"
    after: str = ""


class OnlinePage(NamedTuple):
    """Some users who are online. `next` is None on the last page."""

    user_ids: list[str]
    next: OnlineCursor | None


class Presence:
    """The shards, the gateways' streams, tickets and limits. Connects on first use.

    Methods raise `PresenceUnavailable` if a shard that they need does not answer, and
    may then be repeated.
    """

    def __init__(
        self, settings: Settings, prefixes: Sequence[str], backend: Backend
    ) -> None:
        self._backend = backend
        self._settles_in = int(
            1000 * max(settings.gateway_ttl, 2 * settings.sweep_interval)
        )
        self.may_hide = settings.allow_invisible
        """Whether users may be hidden from others (`PRESENCE_ALLOW_INVISIBLE`)."""
        self._offline_ttl = int(settings.offline_ttl * 1000)
        self._online_ttl = int(settings.online_ttl * 1000)
        self._keys = tuple(
            Keys(prefix, number) for number, prefix in enumerate(prefixes)
        )
        self.shards = tuple(Shard.open(settings, backend, keys) for keys in self._keys)
        self.gateway_streams = GatewayStreams(backend, self._keys)
        self.gateway_settings = GatewaySettings(backend, self._keys)
        self.tickets = Tickets(backend, self._keys)
        self.webhooks = Webhooks(backend, self._keys, settings.webhook_urls)
        self.limits = Limits(backend, self._keys)
        self.servers = Servers(backend, self._keys)
        self.worker_counts = WorkerCounts(backend, self._keys)
        self.samples = Samples(backend, self._keys)
        self.recent_transitions = RecentTransitions(backend, self._keys)
        self._gateway_ttl = int(settings.gateway_ttl * 1000)

    @classmethod
    def open(cls, settings: Settings, queue_class: Queue = LifoQueue) -> Self:
        """Make the state from the settings. The pool keeps its free connections in a
        queue of `queue_class`."""
        prefixes = shard_prefixes(settings.shards)
        return cls(settings, prefixes, open_backend(settings, prefixes, queue_class))

    def shard_of(self, user_id: str) -> Shard:
        """The shard to which `user_id` belongs."""
        return self.shards[shard_number(user_id, len(self.shards))]

    def _keys_of(self, user_id: str) -> Keys:
        return self._keys[shard_number(user_id, len(self._keys))]

    def statuses(self, user_ids: Iterable[str]) -> list[UserStatus]:
        """The statuses of `user_ids`, in their order.

        If Redis has lost state, every `updated_at` is at least the time at which the
        loss was noticed. So clients accept it: it is newer than all that was announced
        before.
        """
        asked = list(user_ids)
        found, _, failed_shards = self._read(asked)
        for error in failed_shards.values():
            raise error
        return [found[user_id] for user_id in asked]

    def read_statuses(self, user_ids: Iterable[str]) -> Statuses:
        """As `statuses`, with the clocks of the shards."""
        found, clocks, failed_shards = self._read(user_ids)
        for error in failed_shards.values():
            raise error
        return Statuses(found, clocks, len(self.shards))

    def statuses_where_possible(self, user_ids: Iterable[str]) -> Statuses:
        """The statuses of `user_ids`, without users whose shard does not answer.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        found, clocks, failed_shards = self._read(user_ids)
        if len(failed_shards) == len(self.shards):
            raise failed_shards[0]
        return Statuses(found, clocks, len(self.shards))

    def _read(
        self, user_ids: Iterable[str]
    ) -> tuple[dict[str, UserStatus], dict[int, Clock], dict[int, PresenceUnavailable]]:
        asked = by_shard(user_ids, len(self._keys))
        commands: dict[int, list[Command]] = {}
        for shard, lists in asked.items():
            keys = self._keys[shard]
            shared = [keys.online_users, keys.epoch]
            commands[shard] = [
                run_script("statuses", [*shared, *map(keys.user_status, batch)], batch)
                for batch in lists
            ]
        if not commands:
            return {}, {}, {}
        answers = self._backend.gather(commands)
        found: dict[str, UserStatus] = {}
        clocks: dict[int, Clock] = {}
        for shard, replies in answers.replies.items():
            for batch, (now, epoch, *reply) in zip(asked[shard], replies, strict=True):
                # The first batch was read first.
                clocks.setdefault(shard, self._clock(int(now), time_of(epoch) or 0))
                size = 3 * len(batch)
                columns = (reply[column:size:3] for column in range(3))
                for status in map(user_status, batch, *columns):
                    found[status.user_id] = status
                activities = (reply[size + column :: 3] for column in range(3))
                for place, *times in zip(*activities, strict=True):
                    user_id = batch[place]
                    found[user_id] = with_activity(found[user_id], *times)
        return found, clocks, answers.errors

    def _clock(self, now: int, epoch: int) -> Clock:
        return Clock(now, epoch, self._offline_ttl)

    def devices(self, user_ids: Iterable[str]) -> dict[str, int]:
        """How many open connections each of `user_ids` has.

        Raises:
            PresenceUnavailable: a shard did not answer.
        """
        asked = by_shard(user_ids, len(self._keys))
        commands: dict[int, list[Command]] = {
            shard: [
                run_script("devices", [*map(self._keys[shard].user_connections, batch)])
                for batch in lists
            ]
            for shard, lists in asked.items()
        }
        if not commands:
            return {}
        return {
            user_id: count
            for shard, replies in self._backend.gather(commands).all().items()
            for batch, reply in zip(asked[shard], replies, strict=True)
            for user_id, count in zip(batch, reply, strict=True)
        }

    def inspect(self, user_id: str) -> Inspection:
        """All that is stored about one user, read in one round trip. Changes nothing.

        Raises:
            PresenceUnavailable: the shard of the user did not answer.
        """
        keys = self._keys_of(user_id)
        names = [
            *(keys.online_users, keys.epoch, keys.transitions),
            *(keys.user_status(user_id), keys.user_connections(user_id)),
        ]
        command = run_script("inspect", names, [user_id, MAX_WAITING])
        (reply,) = self._backend.run(keys.shard, [command])
        return inspection_of(
            user_id,
            reply,
            online_ttl=self._online_ttl,
            offline_ttl=self._offline_ttl,
        )

    def online_page(self, cursor: OnlineCursor, limit: int) -> OnlinePage:
        """At most `limit` users who are online, from `cursor` on. A user who is online
        all the time is on some page, and may be on two.

        Raises:
            PresenceUnavailable: the shard of the page did not answer.
        """
        keys = self._keys[cursor.shard]
        command = ("SSCAN", keys.online_users, cursor.scan, "COUNT", limit)
        ((next_scan, found),) = self._backend.run(keys.shard, [command])
        # Redis may return more than it was asked for. Then the next page begins at the
        # same place in the set, after the last id of this page.
        user_ids = sorted(one for one in found if one > cursor.after)
        if len(user_ids) > limit:
            page = user_ids[:limit]
            return OnlinePage(page, cursor._replace(after=page[-1]))
        if int(next_scan):
            return OnlinePage(user_ids, OnlineCursor(cursor.shard, str(next_scan)))
        if keys.shard + 1 < len(self._keys):
            return OnlinePage(user_ids, OnlineCursor(cursor.shard + 1))
        return OnlinePage(user_ids, None)

    def start_visibility_change(self, user_id: str) -> ChangeStart:
        """Take the next number of the user's sequence, and read the real status. For a
        change of visibility: see `publish_visibility_change`."""
        keys = self._keys_of(user_id)
        names = [keys.online_users, keys.epoch, keys.user_status(user_id)]
        command = run_script(
            "start_visibility_change", names, [user_id, self._offline_ttl]
        )
        ((number, now, epoch, *real),) = self._backend.run(keys.shard, [command])
        clock = self._clock(int(now), time_of(epoch) or 0)
        return ChangeStart(int(number), full_status(user_id, *real), clock)

    def publish_visibility_change(
        self,
        user_id: str,
        timestamp: int,
        online_to: Iterable[str],
        offline_to: Iterable[str],
    ) -> bool | None:
        """Put a change of visibility into the outbox. The viewers `online_to` will see
        that the user goes online, and `offline_to` that the user goes offline.
        `timestamp` is from `start_visibility_change`.

        Returns whether the caller must request a drain. None: the user has had a
        transition since `start_visibility_change`, so nothing was done.
        """
        keys = self._keys_of(user_id)
        names = [*keys.of_outbox_scripts, keys.user_status(user_id)]
        viewers = [joined_ids(sorted(online_to)), joined_ids(sorted(offline_to))]
        command = run_script(
            "publish_visibility_change",
            names,
            [user_id, timestamp, *viewers, causes.current_request()],
        )
        (reply,) = self._backend.run(keys.shard, [command])
        return None if reply == _REFUSED else bool(reply)

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
        """Returns which of `user_ids` are online. Also returns the users whose shard
        did not answer, each with the reason."""
        lists = by_shard(user_ids, len(self._keys), LOOKUP_BATCH)
        if not lists:
            return set(), {}
        commands = {
            shard: [
                ("SMISMEMBER", self._keys[shard].online_users, *batch) for batch in mine
            ]
            for shard, mine in lists.items()
        }
        answers = self._backend.gather(commands)
        online: set[str] = set()
        for shard, replies in answers.replies.items():
            for batch, reply in zip(lists[shard], replies, strict=True):
                online.update(compress(batch, reply))
        unknown = {
            user_id: error
            for shard, error in answers.errors.items()
            for user_id in chain.from_iterable(lists[shard])
        }
        return online, unknown

    def now(self) -> int:
        """The earliest time of the clocks of the shards that answer (ms).

        Raises:
            PresenceUnavailable: no shard answered.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [("TIME",)] for keys in self._keys
        }
        times = self._backend.gather(commands).some().values()
        return min(
            int(seconds) * 1000 + int(micros) // 1000 for ((seconds, micros),) in times
        )

    def is_settled(self) -> bool:
        """Whether every live gateway has had time to register, since Redis came back or
        lost state. Until then, a message to all gateways may miss some of them.

        Raises:
            PresenceUnavailable: a shard did not answer.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [
                ("TIME",),
                ("HMGET", keys.sweeps, "last", "no_gap_since"),
                ("GET", keys.epoch),
            ]
            for keys in self._keys
        }
        return all(
            has_settled(
                int(seconds) * 1000,
                time_of(last),
                time_of(no_gap_since),
                time_of(epoch) or 0,
                self._settles_in,
            )
            for (seconds, _), (last, no_gap_since), epoch in (
                self._backend.gather(commands).all().values()
            )
        )

    def overview(self) -> Overview:
        """The state in a few numbers, read in one round trip. Changes nothing.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        commands: dict[int, list[Command]] = {}
        for keys in self._keys:
            names = [keys.online_users, keys.gateways, keys.transitions, keys.sweeps]
            names += [keys.epoch, keys.unstored, keys.crowds]
            commands[keys.shard] = [run_script("overview", names)]
        answers = self._backend.gather(commands)
        rows = [list(map(int, reply)) for (reply,) in answers.some().values()]
        now, online, gateways, overdue, outbox, held_since, holds, *rest = zip(
            *rows, strict=True
        )
        swept_at, epoch, unstored = rest
        ages = [at - swept for at, swept in zip(now, swept_at, strict=True)]
        return Overview(
            online=sum(online),
            gateways=max(gateways),
            overdue_gateways=max(overdue),
            outbox=sum(outbox),
            unstored=sum(unstored),
            sweeps_held=sum(map(bool, held_since)),
            sweep_holds=sum(holds),
            last_sweep_age=max(ages) if all(swept_at) else None,
            epoch=max(epoch),
            shards_away=len(answers.errors),
        )

    def stats(self) -> Stats:
        """How many users, connections and gateways there are now.

        Raises:
            PresenceUnavailable: a shard did not answer.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [
                ("SCARD", keys.online_users),
                ("ZRANGE", keys.gateways, 0, -1),
            ]
            for keys in self._keys
        }
        found = self._backend.gather(commands).all().values()
        gateways = sorted({one for _, ids in found for one in ids})
        commands = {
            keys.shard: [("GET", keys.gateway_connections(one)) for one in gateways]
            for keys in self._keys
            if gateways
        }
        counts = self._backend.gather(commands).all().values() if commands else ()
        return Stats(
            online_users=sum(online for online, _ in found),
            connections=sum(int(count or 0) for reply in counts for count in reply),
            gateways=len(gateways),
        )

    def gateway_loads(self) -> list[GatewayLoad]:
        """The gateway processes, by id.

        Raises:
            PresenceUnavailable: a shard did not answer.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [("ZRANGE", keys.gateways, 0, -1)] for keys in self._keys
        }
        found = self._backend.gather(commands).all().values()
        gateways = sorted({one for (ids,) in found for one in ids})
        commands = {
            keys.shard: [("TIME",)]
            + [
                command
                for one in gateways
                for command in (
                    ("ZSCORE", keys.gateways, one),
                    ("GET", keys.gateway_connections(one)),
                    ("SCARD", keys.gateway_users(one)),
                )
            ]
            for keys in self._keys
        }
        silences: dict[str, list[int]] = {one: [] for one in gateways}
        connections, users = Counter[str](), Counter[str]()
        for (seconds, micros), *replies in (
            self._backend.gather(commands).all().values()
        ):
            now = int(seconds) * 1000 + int(micros) // 1000
            columns = (replies[column::3] for column in range(3))
            for one, deadline, open_ones, held in zip(gateways, *columns, strict=True):
                connections[one] += int(open_ones or 0)
                users[one] += held
                if deadline is not None:
                    heard_at = int(float(deadline)) - self._gateway_ttl
                    silences[one].append(max(0, now - heard_at))
        return [
            GatewayLoad(
                one,
                connections[one],
                users[one],
                silent_for=min(silences[one]),
                is_overdue=min(silences[one]) > self._gateway_ttl,
            )
            for one in gateways
            if silences[one]
        ]

    def check_writes(self) -> None:
        """Check that Redis accepts writes. With many shards, one shard is enough: this
        process can still serve the users of that shard.

        Raises:
            PresenceUnavailable: no shard accepts writes.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [("SET", keys.probe, 1, "PX", PROBE_TTL_MS)]
            for keys in self._keys
        }
        self._backend.gather(commands).some()
