"""The gateway processes as one shard knows them: which are alive, and whom they hold.

Every gateway is known in every shard, with its users of that shard. Whom it holds is
asked of all shards at once, so `models.presence.presence` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import ResponseError

from models.presence.batches import SCRIPT_BATCH, batches
from models.presence.keys import Keys
from models.presence.redis.backend import Link
from models.presence.redis.roundtrip import ask
from models.presence.redis.scripts import Scripts, in_one
from models.presence.store import SignOfLife
from models.presence.tolerance import tolerant


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
        self, link: Link, keys: Keys, *, online_ttl: float, gateway_ttl: float
    ) -> None:
        self._link = link
        self._keys = keys
        self._scripts = Scripts(link)
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

        def run(batch: list[SignOfLife]) -> Any:  # noqa: ANN401 - a reply
            nonlocal last_deadline
            names = [
                keys.online_users,
                keys.deadlines,
                keys.gateways,
                keys.gateway_users(gateway_id),
                keys.epoch,
            ]
            for sign in batch:
                names += (
                    keys.user_status(sign.user_id),
                    keys.user_connections(sign.user_id),
                )
            told = (
                [sign.user_id for sign in batch],
                [sign.connection_id for sign in batch],
                [sign.age_ms for sign in batch],
            )
            args = (
                self._online_ttl_ms,
                gateway_id,
                self._gateway_ttl_ms,
                last_deadline,
                in_one(told),
            )
            try:
                reply = self._scripts.run("heartbeat", names, args)
            except ResponseError:
                last_deadline = 0  # it was moved, we do not know to when
                raise
            last_deadline = int(reply[1])
            return reply

        for batch, reply, _ in tolerant(list(batches(signs)) or [[]], run):
            if reply is None:
                continue  # somebody has damaged the state of that user
            lapsed |= bool(reply[0])
            gone += [batch[index] for index in sorted(set(reply[2:]))]
        if not last_deadline:  # the last one was such a user
            lapsed |= bool(run([])[0])
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
            found = self._link.call(
                lambda redis: redis.srandmember(
                    keys.gateway_users(gateway_id), SCRIPT_BATCH
                )
            )
            batch = cast("list[str]", found)
            names = shared + [keys.user_connections(user_id) for user_id in batch]
            if not self._scripts.run("reap", names, [gateway_id, *batch]):
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
        self._link.call(lambda redis: ask(redis, commands))
