"""Who is online: one typed method per atomic operation on the presence state.

Contract of the state: a user is online while some connection's deadline lies ahead.
`connect` and the gateways' heartbeats move deadlines on, `release` moves them to the
end of the grace, `expire` makes offline whose deadlines have passed. Connection keys
expire by themselves; the online set is cleaned by `expire` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.events import Transition
from models.presence.batches import (
    ADOPT_BATCH,
    CONNECT_BATCH,
    SCRIPT_BATCH,
    batches,
    run_in_batches,
)
from models.presence.errors import CommandRefused
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, json_argument, run_script
from models.presence.rules import Survey

_REFUSED = -1


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A connection was opened or its heartbeat came, `age_ms` milliseconds ago."""

    user_id: str
    connection_id: str
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class Departure:
    """A connection ended `age_ms` ago and still counts for `grace_ms` from then."""

    user_id: str
    connection_id: str
    grace_ms: int
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class ConnectReply:
    """`transitions`: users who became online. `refused`: connection ids over the limit
    of their user. `needs_drain`: the caller must request a drain. `failed`:
    connection ids that Redis cannot take; somebody has damaged the state of their
    user."""

    transitions: list[Transition]
    refused: set[str]
    needs_drain: bool
    failed: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Caller:
    """The gateway that calls, and its deadline as it was last told (ms)."""

    gateway_id: str
    deadline: int


SWEEP = Caller("", 0)
"""No gateway: a sweep, which has made its own survey."""


@dataclass(frozen=True, slots=True)
class ExpireReply:
    """`transitions`: users who became offline. `needs_drain`: as in `ConnectReply`.
    `is_refused`: Redis does not know the caller's deadline, or it has passed. So Redis
    has lost what it knew, or stood still with the call on the way: it may lack what
    others have to tell. Some users may not have been looked at. `failed`: users whose
    state somebody has damaged."""

    transitions: list[Transition]
    needs_drain: bool
    is_refused: bool = False
    failed: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep has to do: users whose deadline has passed, dead gateways."""

    user_ids: list[str]
    gateway_ids: list[str]


class PresenceStore:
    """The presence state of one shard. Times are seconds.

    Every method raises `PresenceUnavailable` where Redis does not answer, and may then
    be repeated.
    """

    def __init__(
        self,
        backend: Backend,
        keys: Keys,
        *,
        online_ttl: float,
        offline_ttl: float,
        max_connections_per_user: int,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._online_ttl_ms = int(online_ttl * 1000)
        self._offline_ttl_ms = int(offline_ttl * 1000)
        self._max_connections = max_connections_per_user

    def connect(self, gateway_id: str, signs: Sequence[SignOfLife]) -> ConnectReply:
        """Make connections of `gateway_id` live, new ones or such that Redis has lost.

        Changes: deadlines, the gateway's users, status, online set, outbox. A user who
        was not online becomes online, which is one transition.
        """
        keys = self._keys
        shared = [
            keys.online_users,
            keys.deadlines,
            keys.transitions,
            keys.drainer,
            keys.gateway_users(gateway_id),
        ]
        transitions: list[Transition] = []
        refused: set[str] = set()
        failed: set[str] = set()
        needs_drain = False

        def commands_for(batch: list[SignOfLife]) -> list[Command]:
            values: list[str | int] = []
            for sign in batch:
                values += (sign.user_id, sign.connection_id, sign.age_ms)
            args = (self._online_ttl_ms, self._max_connections, json_argument(values))
            return [run_script("connect", shared + self._of_users(batch), args)]

        for batch, replies, is_second in run_in_batches(
            self._backend, keys.shard, batches(signs, CONNECT_BATCH), commands_for
        ):
            needs_drain |= is_second  # the first run may have made transitions
            if replies is None:
                failed.update(sign.connection_id for sign in batch)
                continue
            (reply,) = replies
            needs_drain |= bool(reply[0])
            for sign, timestamp in zip(batch, reply[1:], strict=True):
                if timestamp == "-1":
                    refused.add(sign.connection_id)
                elif timestamp != "0":
                    transitions.append(
                        Transition(sign.user_id, "online", int(timestamp))
                    )
        return ConnectReply(transitions, refused, needs_drain, failed)

    def release(self, gateway_id: str, departures: Sequence[Departure]) -> int:
        """Take connections of `gateway_id` away; each still counts for its grace.

        Changes: deadlines, the gateway's users. Makes nobody offline: call `expire` for
        the users once the grace is over. Returns how many connections were there.
        """
        released = run_in_batches(
            self._backend,
            self._keys.shard,
            batches(departures),
            lambda batch: [self._release(gateway_id, batch)],
        )
        return sum(replies[0] for _, replies, _ in released if replies is not None)

    def release_and_expire(
        self, caller: Caller, departures: Sequence[Departure], user_ids: Sequence[str]
    ) -> ExpireReply:
        """`release`, and then `expire` for `user_ids`, in one round trip: for who left
        without grace. At most `SCRIPT_BATCH` of each."""
        commands = [
            self._release(caller.gateway_id, departures),
            self._expire(caller, user_ids),
        ]
        try:
            _, reply = self._backend.run(self._keys.shard, commands)
        except CommandRefused:
            # One item made a script fail: the calls below try them one by one.
            self.release(caller.gateway_id, departures)
            return replace(self.expire(user_ids, caller), needs_drain=True)
        return _expire_reply(user_ids, reply)

    def expire(self, user_ids: Iterable[str], caller: Caller = SWEEP) -> ExpireReply:
        """Make those of `user_ids` offline whose latest deadline has passed, unless
        Redis has lost what it told the `caller`, or the caller's deadline has passed.

        Changes: status, online set, deadlines, outbox; deletes their connections. Does
        nothing to a user who is live or already offline.
        """
        transitions: list[Transition] = []
        failed: set[str] = set()
        needs_drain = False

        for batch, replies, is_second in run_in_batches(
            self._backend,
            self._keys.shard,
            batches(user_ids),
            lambda batch: [self._expire(caller, batch)],
        ):
            needs_drain |= is_second  # the first run may have made transitions
            if replies is None:
                failed.update(batch)
                continue
            reply = _expire_reply(batch, replies[0])
            if reply.is_refused:
                return ExpireReply(transitions, needs_drain, is_refused=True)
            needs_drain |= reply.needs_drain
            transitions += reply.transitions
        return ExpireReply(transitions, needs_drain, failed=failed)

    def due(self, most: int = SCRIPT_BATCH) -> Due:
        """At most `most` users whose deadline has passed, longest ago first, and the
        dead gateways. Changes nothing; costs O(log n) and what it returns."""
        keys = [self._keys.deadlines, self._keys.gateways]
        ((user_ids, gateway_ids),) = self._backend.run(
            self._keys.shard, [run_script("due", keys, [most])]
        )
        return Due(user_ids, gateway_ids)

    def adopt(self, most: int = ADOPT_BATCH) -> int:
        """Give users who are in the online set and have no deadline one, a TTL from
        now. Returns how many got one.

        Such users are left by somebody who deleted the deadlines; without one no sweep
        would ever see them. Looks at about `most` users, and only where the online set
        is larger than that of the deadlines.
        """
        keys = [self._keys.online_users, self._keys.deadlines, self._keys.sweeps]
        command = run_script("adopt", keys, [self._online_ttl_ms, most])
        (adopted,) = self._backend.run(self._keys.shard, [command])
        return int(adopted)

    def survey(self, max_gap_ms: int) -> tuple[Survey, list[str]]:
        """What a sweep has to know before it expires anybody, and the ids of overdue
        gateways. Records that a sweep has run; more than `max_gap_ms` after the last
        one is a gap."""
        keys = self._keys
        shared = [
            keys.deadlines,
            keys.gateways,
            keys.online_users,
            keys.sweeps,
            keys.epoch,
        ]
        command = run_script("survey", shared, [max_gap_ms])
        ((*numbers, overdue),) = self._backend.run(keys.shard, [command])
        now, no_gap_since, held_since, due, online, gateways, epoch = map(int, numbers)

        counts = run_in_batches(
            self._backend,
            keys.shard,
            [overdue] if overdue else [],
            lambda ids: [
                ("SCARD", keys.gateway_users(gateway_id)) for gateway_id in ids
            ],
        )
        affected = due + sum(sum(replies or ()) for _, replies, _ in counts)
        survey = Survey(
            now,
            no_gap_since,
            held_since,
            affected,
            online,
            gateways,
            len(overdue),
            epoch,
        )
        return survey, overdue

    def hold_sweeps(self, since: int) -> None:
        """Sweeps hold from `since` (ms), which is counted; 0: no longer."""
        sweeps = self._keys.sweeps
        commands: list[Command] = [("HDEL", sweeps, "held_since")]
        if since:
            commands = [
                ("HSET", sweeps, "held_since", since),
                ("HINCRBY", sweeps, "holds", 1),
            ]
        self._backend.run(self._keys.shard, commands)

    def _release(self, gateway_id: str, departures: Sequence[Departure]) -> Command:
        keys = [self._keys.deadlines, self._keys.gateway_users(gateway_id)]
        told: list[str | int] = []
        for gone in departures:
            told += (gone.user_id, gone.connection_id, gone.age_ms, gone.grace_ms)
        args = (gateway_id, self._online_ttl_ms, json_argument(told))
        return run_script("release", keys + self._of_users(departures), args)

    def _expire(self, caller: Caller, user_ids: Sequence[str]) -> Command:
        keys = self._keys
        names = [
            keys.online_users,
            keys.deadlines,
            keys.transitions,
            keys.drainer,
            keys.gateways,
        ]
        for user_id in user_ids:
            names += (keys.user_status(user_id), keys.user_connections(user_id))
        args: list[str | int] = [self._online_ttl_ms, self._offline_ttl_ms]
        args += (caller.gateway_id, caller.deadline)
        return run_script("expire", names, args + list(user_ids))

    def _of_users(self, batch: Sequence[SignOfLife] | Sequence[Departure]) -> list[str]:
        keys = self._keys
        return [
            key
            for item in batch
            for key in (
                keys.user_status(item.user_id),
                keys.user_connections(item.user_id),
            )
        ]


def _expire_reply(user_ids: Sequence[str], reply: list[Any]) -> ExpireReply:
    needs_drain, *timestamps = reply
    if needs_drain == _REFUSED:
        return ExpireReply([], needs_drain=False, is_refused=True)
    transitions = [
        Transition(user_id, "offline", int(timestamp))
        for user_id, timestamp in zip(user_ids, timestamps, strict=True)
        if timestamp != "0"
    ]
    return ExpireReply(transitions, bool(needs_drain))
