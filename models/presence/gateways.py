"""The gateway processes as one shard knows them: which are alive, and whom they hold.

Every gateway is known in every shard, with its users of that shard. Whom it holds is
asked of all shards at once, so `models.presence.presence` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.presence.batches import SCRIPT_BATCH, batches, run_in_batches
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, json_argument, run_script
from models.presence.store import SignOfLife


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """`lapsed`: the gateway was unknown or overdue, or Redis has lost what it knew; it
    has to register everything anew. `gone`: the connections that Redis does not know.
    `deadline`: the gateway's new one, for the next call. `now`: Redis's time. In ms."""

    lapsed: bool
    gone: list[SignOfLife]
    deadline: int
    now: int


class GatewayStore:
    """The gateways of one shard. Methods raise `PresenceUnavailable` like the store's.

    Times are seconds.
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
        signs: Sequence[SignOfLife] = (),
        last_deadline: int = 0,
    ) -> HeartbeatReply:
        """Move the gateway's deadline and those of its connections in `signs`.

        Where Redis does not know `last_deadline`, the one of the last reply, it has
        come back empty or with an older state. That begins a new epoch, and the
        gateway's users are forgotten until it registers them.

        One script call for up to `SCRIPT_BATCH` connections. Revives nothing.
        """
        keys = self._keys
        lapsed = False
        gone: list[SignOfLife] = []

        def commands_for(batch: list[SignOfLife]) -> list[Command]:
            nonlocal last_deadline
            names = [
                keys.online_users,
                keys.deadlines,
                keys.gateways,
                keys.gateway_users(gateway_id),
                keys.epoch,
            ]
            for sign in batch:
                names.append(keys.user_status(sign.user_id))
                names.append(keys.user_connections(sign.user_id))
            columns = (
                [sign.user_id for sign in batch],
                [sign.connection_id for sign in batch],
                [sign.age_ms for sign in batch],
            )
            args = (
                self._online_ttl_ms,
                gateway_id,
                self._gateway_ttl_ms,
                last_deadline,
                json_argument(columns),
            )
            last_deadline = 0  # a refused script has moved it, nobody knows to when
            return [run_script("heartbeat", names, args)]

        for batch, replies, _ in run_in_batches(
            self._backend, keys.shard, list(batches(signs)) or [[]], commands_for
        ):
            if replies is None:
                continue  # another program has damaged the state of that user
            has_lapsed, deadline, *missing = replies[0]
            last_deadline = int(deadline)
            lapsed |= bool(has_lapsed)
            gone += [batch[index] for index in sorted(set(missing))]
        if not last_deadline:  # the last batch was refused
            (reply,) = self._backend.run(keys.shard, commands_for([]))
            last_deadline = int(reply[1])
            lapsed |= bool(reply[0])
        now = last_deadline - self._gateway_ttl_ms
        return HeartbeatReply(lapsed, gone, last_deadline, now)

    def reap(self, gateway_id: str) -> list[str]:
        """Take away the connections of a dead gateway, and the gateway.

        Returns the users it held; call `expire` for them. Does nothing to a gateway
        that lives, and stops where it comes back to life: it then registers anew.
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
        """A gateway that has released everything leaves."""
        keys = self._keys
        commands = [
            ("ZREM", keys.gateways, gateway_id),
            ("DEL", keys.gateway_users(gateway_id)),
            ("DEL", keys.gateway_events(gateway_id)),
        ]
        self._backend.run(keys.shard, commands)
