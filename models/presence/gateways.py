"""The gateway processes of one shard: which are alive, and which users they hold.

Every shard knows every gateway, with the gateway's users of that shard. Questions about
the users of all shards are in `models.presence.gateway_streams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.batches import batches
from models.presence.batches import SCRIPT_BATCH, run_in_batches
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, json_argument, run_script
from models.presence.store import LiveConnection

KEPT_TTLS = 4
"""Gateway TTLs for which the number of a gateway's connections is kept."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The result of `heartbeat`. Times are ms of Redis's clock."""

    lapsed: bool
    """The gateway was unknown or overdue, or Redis has lost state: the gateway must
    register all its connections again."""
    gone: list[LiveConnection]
    """The connections that Redis does not know."""
    deadline: int
    """The gateway's new deadline, for the next call."""
    now: int


class GatewayStore:
    """The gateways of one shard. Methods raise `PresenceUnavailable` like the store's.

    Arguments named `..._ttl` are seconds.
    """

    def __init__(
        self, backend: Backend, keys: Keys, *, online_ttl: float, gateway_ttl: float
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._online_ttl_ms = int(online_ttl * 1000)
        self._gateway_ttl_ms = int(gateway_ttl * 1000)

    def heartbeat(
        self,
        gateway_id: str,
        live: Sequence[LiveConnection] = (),
        last_deadline: int = 0,
        connections: int = 0,
    ) -> HeartbeatReply:
        """Move forward the deadlines of the gateway and of its connections in `live`.

        `last_deadline` is the deadline in the last reply. If Redis does not know it,
        Redis came back empty or with an older state. That starts a new epoch, and the
        gateway's users are deleted until the gateway registers them again.

        `connections` is the number of the gateway's open connections, for `stats`. It
        expires some gateway TTLs after the last heartbeat.

        One script call per `SCRIPT_BATCH` connections. Revives no connection that Redis
        does not know.
        """
        keys = self._keys
        lapsed = False
        gone: list[LiveConnection] = []

        def commands_for(batch: list[LiveConnection]) -> list[Command]:
            nonlocal last_deadline
            names = [
                keys.online_users,
                keys.deadlines,
                keys.gateways,
                keys.gateway_users(gateway_id),
                keys.epoch,
            ]
            user_ids: list[str] = []
            connection_ids: list[str] = []
            ages: list[int] = []
            for one in batch:
                names.append(keys.user_status(one.user_id))
                names.append(keys.user_connections(one.user_id))
                user_ids.append(one.user_id)
                connection_ids.append(one.connection_id)
                ages.append(one.age_ms)
            args = (
                self._online_ttl_ms,
                gateway_id,
                self._gateway_ttl_ms,
                last_deadline,
                json_argument((user_ids, connection_ids, ages)),
            )
            last_deadline = 0  # unknown until the reply: a refused script has moved it
            count = keys.gateway_connections(gateway_id)
            kept = KEPT_TTLS * self._gateway_ttl_ms
            return [
                run_script("heartbeat", names, args),
                ("SET", count, connections, "PX", kept)
                if connections
                else ("DEL", count),
            ]

        for batch, replies, _ in run_in_batches(
            self._backend,
            keys.shard,
            list(batches(live, SCRIPT_BATCH)) or [[]],
            commands_for,
        ):
            if replies is None:
                continue  # another program has damaged the state of that user
            has_lapsed, deadline, *missing = replies[0]
            last_deadline = int(deadline)
            lapsed |= bool(has_lapsed)
            gone += [batch[index] for index in sorted(set(missing))]
        if not last_deadline:  # the last batch was refused
            reply, _ = self._backend.run(keys.shard, commands_for([]))
            last_deadline = int(reply[1])
            lapsed |= bool(reply[0])
        now = last_deadline - self._gateway_ttl_ms
        return HeartbeatReply(lapsed, gone, last_deadline, now)

    def reap(self, gateway_id: str) -> list[str]:
        """Remove a dead gateway and its connections.

        Returns the users that the gateway held; call `expire` for them. Does nothing to
        a live gateway. If the gateway comes back during the call, the call stops, and
        the gateway registers again.
        """
        keys = self._keys
        shared = [
            keys.gateways,
            keys.gateway_users(gateway_id),
            keys.gateway_events(gateway_id),
            keys.deadlines,
        ]
        reaped: list[str] = []
        while True:
            pick = ("SRANDMEMBER", keys.gateway_users(gateway_id), SCRIPT_BATCH)
            ((*batch,),) = self._backend.run(keys.shard, [pick])
            names = shared + [keys.user_connections(user_id) for user_id in batch]
            reap = run_script("reap", names, [gateway_id, *batch])
            (is_dead,) = self._backend.run(keys.shard, [reap])
            if not is_dead:
                return reaped
            reaped += batch
            if not batch:
                return reaped

    def forget(self, gateway_id: str) -> None:
        """Remove a gateway that has released all its connections."""
        keys = self._keys
        commands = [
            ("ZREM", keys.gateways, gateway_id),
            ("DEL", keys.gateway_users(gateway_id)),
            ("DEL", keys.gateway_events(gateway_id)),
            ("DEL", keys.gateway_connections(gateway_id)),
            ("DEL", keys.gateway_settings(gateway_id)),
        ]
        self._backend.run(keys.shard, commands)
