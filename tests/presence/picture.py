"""The whole presence state of a shard, read in one round trip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.presence.shard import Shard
from tests.presence.simulated import TTLS

USERS = ("ann", "bob", "cid")


@dataclass(frozen=True)
class Picture:
    """What Redis holds of USERS and of some gateways."""

    online: set[str]
    deadlines: dict[str, int]
    expires_at: dict[str, int]
    statuses: dict[str, dict[str, str]]
    leases: dict[str, dict[str, int]]
    held: dict[str, set[str]]

    @classmethod
    def take(cls, shard: Shard, gateways: Iterable[str]) -> Picture:
        keys, gateways = shard.keys, list(gateways)
        with shard.client.pipeline(transaction=False) as pipe:
            pipe.smembers(keys.online_users)
            pipe.zrange(keys.deadlines, 0, -1, withscores=True)
            pipe.zrange(TTLS, 0, -1, withscores=True)
            for user in USERS:
                pipe.hgetall(keys.user_status(user))
                pipe.zrange(keys.user_connections(user), 0, -1, withscores=True)
            for gateway in gateways:
                pipe.smembers(keys.gateway_users(gateway))
            online, deadlines, expires_at, *rest = pipe.execute()
        of_users, of_gateways = rest[: 2 * len(USERS)], rest[2 * len(USERS) :]
        return cls(
            set(online),
            _scores(deadlines),
            _scores(expires_at),
            dict(zip(USERS, of_users[0::2], strict=True)),
            dict(zip(USERS, map(_scores, of_users[1::2]), strict=True)),
            dict(zip(gateways, map(set, of_gateways), strict=True)),
        )


def _scores(pairs: Iterable[tuple[str, float]]) -> dict[str, int]:
    return {member: int(score) for member, score in pairs}
