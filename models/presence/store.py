"""Which users are online: one typed method per atomic operation of a shard.

A user is online while the deadline of some connection lies ahead. `connect` and the
gateways' heartbeats move deadlines forward. `release` sets a deadline to the end of the
grace. `expire` makes users offline whose deadlines have passed. Redis deletes
connection keys by itself; only `expire` removes a user from the online set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.batches import batches
from models.events import Transition
from models.presence.batches import (
    ADOPT_BATCH,
    CONNECT_BATCH,
    SCRIPT_BATCH,
    run_in_batches,
)
from models.presence.errors import CommandRefused
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, json_argument, run_script
from models.presence.rules import Survey
from models.telemetry import causes

_REFUSED = -1
_OVERTAKEN = -2


@dataclass(frozen=True, slots=True)
class LiveConnection:
    """A connection that was opened or sent a heartbeat `age_ms` milliseconds ago.
    `is_idle`: its client has said that nobody is there. `cause`: what has opened it, in
    the form of `models.telemetry.causes`."""

    user_id: str
    connection_id: str
    age_ms: int = 0
    is_idle: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ClosedConnection:
    """A connection that ended `age_ms` ago and counts as live until `grace_ms` after
    its end."""

    user_id: str
    connection_id: str
    grace_ms: int
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class ConnectReply:
    """The result of `connect`."""

    transitions: list[Transition]
    """Users who became online."""
    refused: set[str]
    """Connection ids over the limit of their user."""
    needs_drain: bool
    """The caller must request a drain of the outbox."""
    failed: set[str] = field(default_factory=set)
    """Connection ids that Redis refused: another program has damaged the state of their
    user."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of `expire`: a gateway, with the deadline that Redis last gave to it
    (ms). A sweep has an empty `gateway_id`, and its `deadline` is the time until which
    its survey is valid (ms; 0: no limit)."""

    gateway_id: str
    deadline: int


SWEEP = Caller("", 0)
"""A sweep without a survey."""


@dataclass(frozen=True, slots=True)
class ExpireReply:
    """The result of `expire`. If it is refused or overtaken, some users were not
    checked."""

    transitions: list[Transition]
    """Users who became offline."""
    needs_drain: bool
    """The caller must request a drain of the outbox."""
    is_refused: bool = False
    """Redis does not know the caller's deadline, or the deadline has passed. So Redis
    has lost state, or stood still while the call was on its way. Live connections of
    other gateways may be missing in it."""
    is_overtaken: bool = False
    """A heartbeat of the caller arrived first. Its reply tells whether Redis stood
    still: call again after it."""
    failed: set[str] = field(default_factory=set)
    """Users whose state another program has damaged."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep has to do: users whose deadline has passed, and dead gateways."""

    user_ids: list[str]
    gateway_ids: list[str]


class PresenceStore:
    """The presence state of one shard. Arguments named `..._ttl` are seconds.

    Every method raises `PresenceUnavailable` if Redis does not answer, and may then be
    repeated.
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

    def connect(
        self, gateway_id: str, opened: Sequence[LiveConnection]
    ) -> ConnectReply:
        """Make connections of `gateway_id` live: new connections, and connections that
        Redis has lost.

        Changes: deadlines, the gateway's users, status, online set, outbox. A user who
        was not online becomes online, which is one transition. Connection keys expire
        some TTLs after the last heartbeat.
        """
        keys = self._keys
        shared = [*keys.of_outbox_scripts, keys.gateway_users(gateway_id)]
        transitions: list[Transition] = []
        refused: set[str] = set()
        failed: set[str] = set()
        needs_drain = False

        def commands_for(batch: list[LiveConnection]) -> list[Command]:
            values: list[str | int] = []
            for one in batch:
                values += (one.user_id, one.connection_id, one.age_ms)
                values += (int(one.is_idle), one.cause)
            args = (self._online_ttl_ms, self._max_connections, json_argument(values))
            names = shared + self._user_keys(one.user_id for one in batch)
            return [run_script("connect", names, args)]

        for batch, replies, is_second in run_in_batches(
            self._backend, keys.shard, batches(opened, CONNECT_BATCH), commands_for
        ):
            needs_drain |= is_second  # the first run may have made transitions
            if replies is None:
                failed.update(one.connection_id for one in batch)
                continue
            (reply,) = replies
            needs_drain |= bool(reply[0])
            for one, timestamp in zip(batch, reply[1:], strict=True):
                if timestamp == "-1":
                    refused.add(one.connection_id)
                elif timestamp != "0":
                    transitions.append(
                        Transition(one.user_id, "online", int(timestamp), one.cause)
                    )
        return ConnectReply(transitions, refused, needs_drain, failed)

    def activity(self, live: Iterable[LiveConnection]) -> bool:
        """Note for the connections `live` whether they are idle. A user is idle if all
        connections are. Skips connections that Redis does not know.

        Changes: status, outbox. Returns whether the caller must request a drain.
        """
        keys = self._keys
        needs_drain = False

        def commands_for(batch: list[LiveConnection]) -> list[Command]:
            values: list[str | int] = []
            for one in batch:
                values += (one.user_id, one.connection_id)
                values += (int(one.is_idle), one.cause)
            users = self._user_keys(one.user_id for one in batch)
            names = keys.of_outbox_scripts + users
            return [run_script("activity", names, [json_argument(values)])]

        for _, replies, is_second in run_in_batches(
            self._backend, keys.shard, batches(live, SCRIPT_BATCH), commands_for
        ):
            needs_drain |= is_second or bool(replies and replies[0])
        return needs_drain

    def record_detail_change(self, user_id: str) -> bool:
        """Somebody has set a detail of the user, and it is in the database. If the user
        is online, this goes into the outbox.

        Changes: status (the sequence), outbox. Returns whether the caller must request
        a drain.
        """
        keys = self._keys
        names = [*keys.of_outbox_scripts, keys.user_status(user_id)]
        command = run_script("detail", names, [user_id, causes.current_request()])
        (needs_drain,) = self._backend.run(keys.shard, [command])
        return bool(needs_drain)

    def release(self, gateway_id: str, closed: Sequence[ClosedConnection]) -> int:
        """Remove connections of `gateway_id`; each counts as live until its grace ends.

        Changes: deadlines, the gateway's users. Makes nobody offline: call `expire` for
        the users when the grace is over. Returns how many connections Redis knew.
        """
        released = run_in_batches(
            self._backend,
            self._keys.shard,
            batches(closed, SCRIPT_BATCH),
            lambda batch: [self._release(gateway_id, batch)],
        )
        return sum(replies[0] for _, replies, _ in released if replies is not None)

    def release_and_expire(
        self,
        caller: Caller,
        closed: Sequence[ClosedConnection],
        user_ids: Sequence[str],
        caused_by: Mapping[str, str] | None = None,
    ) -> ExpireReply:
        """`release`, then `expire` for `user_ids`, in one round trip: for users who
        left without grace. At most `SCRIPT_BATCH` of each."""
        commands = [
            self._release(caller.gateway_id, closed),
            self._expire(caller, user_ids, caused_by),
        ]
        try:
            _, reply = self._backend.run(self._keys.shard, commands)
        except CommandRefused:
            # An item made its script fail. The calls below retry the items one by one.
            self.release(caller.gateway_id, closed)
            expired = self.expire(user_ids, caller, caused_by)
            return replace(expired, needs_drain=True)
        return _expire_reply(user_ids, reply)

    def expire(
        self,
        user_ids: Iterable[str],
        caller: Caller = SWEEP,
        caused_by: Mapping[str, str] | None = None,
    ) -> ExpireReply:
        """Make each of `user_ids` offline if its latest deadline has passed. Refused if
        Redis does not know the deadline of the `caller`, or if that deadline has
        passed. `caused_by` has the cause of each user, by default the present task.

        Changes: status (which then has the offline TTL), online set, deadlines, outbox;
        deletes the users' connections. Does nothing to a user who is live or already
        offline.
        """
        transitions: list[Transition] = []
        failed: set[str] = set()
        needs_drain = False

        for batch, replies, is_second in run_in_batches(
            self._backend,
            self._keys.shard,
            batches(user_ids, SCRIPT_BATCH),
            lambda batch: [self._expire(caller, batch, caused_by)],
        ):
            needs_drain |= is_second  # the first run may have made transitions
            if replies is None:
                failed.update(batch)
                continue
            reply = _expire_reply(batch, replies[0])
            if reply.is_refused or reply.is_overtaken:
                return replace(reply, transitions=transitions, needs_drain=needs_drain)
            needs_drain |= reply.needs_drain
            transitions += reply.transitions
        return ExpireReply(transitions, needs_drain, failed=failed)

    def due(self, limit: int = SCRIPT_BATCH) -> Due:
        """At most `limit` users whose deadline has passed, longest ago first, and the
        dead gateways. Changes nothing. Costs O(log n) plus the size of the result."""
        keys = [self._keys.deadlines, self._keys.gateways]
        ((user_ids, gateway_ids),) = self._backend.run(
            self._keys.shard, [run_script("due", keys, [limit])]
        )
        return Due(user_ids, gateway_ids)

    def adopt(self, limit: int = ADOPT_BATCH) -> int:
        """Give a deadline, one TTL from now, to online users who have none. Returns how
        many users got one.

        Another program has deleted the deadlines of such users, and without a deadline
        no sweep finds them. Checks about `limit` users, and only if the online set is
        larger than the set of deadlines.
        """
        keys = [self._keys.online_users, self._keys.deadlines, self._keys.sweeps]
        command = run_script("adopt", keys, [self._online_ttl_ms, limit])
        (adopted,) = self._backend.run(self._keys.shard, [command])
        return int(adopted)

    def survey(self, max_gap_ms: int) -> tuple[Survey, list[str]]:
        """What a sweep must know before it expires anybody, and the ids of overdue
        gateways. Records that a sweep has run. If the last one was more than
        `max_gap_ms` ago, there was a gap."""
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
        """Record that the breaker holds the sweeps since the time `since` (ms), and
        count this hold. 0 ends the hold."""
        sweeps = self._keys.sweeps
        commands: list[Command] = [("HDEL", sweeps, "held_since")]
        if since:
            commands = [
                ("HSET", sweeps, "held_since", since),
                ("HINCRBY", sweeps, "holds", 1),
            ]
        self._backend.run(self._keys.shard, commands)

    def _release(self, gateway_id: str, closed: Sequence[ClosedConnection]) -> Command:
        keys = [self._keys.deadlines, self._keys.gateway_users(gateway_id)]
        values: list[str | int] = []
        for one in closed:
            values += (one.user_id, one.connection_id, one.age_ms, one.grace_ms)
        args = (gateway_id, self._online_ttl_ms, json_argument(values))
        names = keys + self._user_keys(one.user_id for one in closed)
        return run_script("release", names, args)

    def _expire(
        self,
        caller: Caller,
        user_ids: Sequence[str],
        caused_by: Mapping[str, str] | None,
    ) -> Command:
        keys = self._keys
        task = causes.current_request() if caused_by is None else ""
        shared = [*keys.of_outbox_scripts, keys.gateways]
        args: list[str | int] = [self._online_ttl_ms, self._offline_ttl_ms]
        args += (caller.gateway_id, caller.deadline)
        for user_id in user_ids:
            args += (user_id, task if caused_by is None else caused_by[user_id])
        return run_script("expire", shared + self._user_keys(user_ids), args)

    def _user_keys(self, user_ids: Iterable[str]) -> list[str]:
        keys = self._keys
        return [
            key
            for user_id in user_ids
            for key in (keys.user_status(user_id), keys.user_connections(user_id))
        ]


def _expire_reply(user_ids: Sequence[str], reply: list[Any]) -> ExpireReply:
    needs_drain, *timestamps = reply
    if needs_drain == _REFUSED:
        return ExpireReply([], needs_drain=False, is_refused=True)
    if needs_drain == _OVERTAKEN:
        return ExpireReply([], needs_drain=False, is_overtaken=True)
    transitions = [
        Transition(user_id, "offline", int(timestamp))
        for user_id, timestamp in zip(user_ids, timestamps, strict=True)
        if timestamp != "0"
    ]
    return ExpireReply(transitions, bool(needs_drain))
