"""The gateway processes: which are alive, whom they hold, and the way to reach them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from models.events import GatewayMessage
from models.presence.errors import translated
from models.presence.keys import Keys
from models.presence.scripts import Scripts
from models.presence.store import SCRIPT_BATCH, SignOfLife, batches

STREAM_MOST = 10_000
"""Messages kept for a gateway that does not read; each holds up to 500 events."""
STREAM_TTL_MS = 300_000
"""A gateway's stream expires that long after its last message."""
LOOKUP_BATCH = 10_000
"""Members asked for in one SMISMEMBER; some 2 ms of the server."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """`lapsed`: the gateway was unknown or overdue, or Redis has lost what it knew; it
    has to register everything anew. `gone`: the connections that Redis does not know.
    `deadline`: the gateway's new one (ms), for the next call."""

    lapsed: bool
    gone: list[SignOfLife]
    deadline: int


class GatewayStore:
    """The gateways of one shard. Methods raise `PresenceUnavailable` like the store's.

    Times are seconds.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, *, online_ttl: float, gateway_ttl: float
    ) -> None:
        self._redis = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._online_ttl_ms = int(online_ttl * 1000)
        self._gateway_ttl_ms = int(gateway_ttl * 1000)
        self._last_ids: list[str] = []

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
        for batch in list(batches(signs)) or [[]]:
            names = [
                keys.online_users,
                keys.deadlines,
                keys.gateways,
                keys.gateway_users(gateway_id),
                keys.epoch,
            ]
            args: list[str | int] = [
                self._online_ttl_ms,
                gateway_id,
                self._gateway_ttl_ms,
                last_deadline,
            ]
            for sign in batch:
                names += (
                    keys.user_status(sign.user_id),
                    keys.user_connections(sign.user_id),
                )
                args += (sign.user_id, sign.connection_id, sign.age_ms)
            reply = self._scripts.run("heartbeat", names, args)
            lapsed |= bool(reply[0])
            last_deadline = int(reply[1])
            gone += [batch[index] for index in reply[2:]]
        return HeartbeatReply(lapsed, gone, last_deadline)

    def holders(self, user_ids: Iterable[str]) -> dict[str, set[str]]:
        """Which gateway holds which of `user_ids`; gateways that hold none are left
        out. One round trip, whatever their number; one more after a gateway has come.

        The gateways are those of the last time, and who they are now is asked in the
        same breath: none that was there before this call is missed.
        """
        asked = list(batches(user_ids, LOOKUP_BATCH))
        if not asked:
            return {}
        held, present = self._held_by(self._last_ids, asked)
        new = [gateway_id for gateway_id in present if gateway_id not in held]
        if new:
            held |= self._held_by(new, asked)[0]
        self._last_ids = present
        return {
            gateway_id: held[gateway_id] for gateway_id in present if held[gateway_id]
        }

    def _held_by(
        self, gateway_ids: Sequence[str], asked: Sequence[list[str]]
    ) -> tuple[dict[str, set[str]], list[str]]:
        """Whom of `asked` each of `gateway_ids` holds, and all gateways there are."""
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.zrange(self._keys.gateways, 0, -1)
            for gateway_id in gateway_ids:
                for batch in asked:
                    pipe.smismember(self._keys.gateway_users(gateway_id), batch)
            present, *replies = pipe.execute()
        left = iter(replies)
        held = {
            gateway_id: {
                user_id
                for batch in asked
                for user_id, member in zip(batch, next(left), strict=True)
                if member
            }
            for gateway_id in gateway_ids
        }
        return held, present

    def publish(self, messages: Mapping[str, GatewayMessage]) -> None:
        """Append one message to the stream of each gateway, in one round trip."""
        if not messages:
            return
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for gateway_id, message in messages.items():
                stream = self._keys.gateway_events(gateway_id)
                pipe.xadd(stream, {"m": message.encode()}, maxlen=STREAM_MOST)
                pipe.pexpire(stream, STREAM_TTL_MS)
            pipe.execute()

    def read(
        self, gateway_id: str, after: str, wait_ms: int, most: int = 100
    ) -> list[tuple[str, GatewayMessage]]:
        """Messages of `gateway_id` with an id greater than `after` ("0": all), with
        their ids; waits up to `wait_ms` for the first one."""
        stream = self._keys.gateway_events(gateway_id)
        with translated():
            reply = cast(
                "Any", self._redis.xread({stream: after}, count=most, block=wait_ms)
            )
        if not reply:
            return []
        ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
        return [
            (entry_id, GatewayMessage.decode(data["m"])) for entry_id, data in entries
        ]

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
            with translated():
                batch = cast(
                    "list[str]",
                    self._redis.srandmember(
                        keys.gateway_users(gateway_id), SCRIPT_BATCH
                    ),
                )
            names = shared + [keys.user_connections(user_id) for user_id in batch]
            if not self._scripts.run("reap", names, [gateway_id, *batch]):
                return reaped
            reaped += batch
            if not batch:
                return reaped

    def forget(self, gateway_id: str) -> None:
        """A gateway that has released everything leaves."""
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.zrem(self._keys.gateways, gateway_id)
            pipe.delete(
                self._keys.gateway_users(gateway_id),
                self._keys.gateway_events(gateway_id),
            )
            pipe.execute()
