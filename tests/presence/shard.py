"""One shard of presence state on a real server, with the reading that tests need."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from config import Settings
from models.events import Transition
from models.presence import Keys, Presence
from models.presence.gateways import GatewayStore
from models.presence.outbox import Outbox, OutboxEntry
from models.presence.redis.backend import SingleServer
from models.presence.store import (
    ClosedConnection,
    ConnectReply,
    LiveConnection,
    PresenceStore,
)

TTL_MS = 60_000
OFFLINE_TTL_MS = 86_400_000
GATEWAY_TTL_MS = 15_000
GRACE_MS = 3_000

GATEWAY = "web.1:aa"
OTHER = "web.2:bb"


@dataclass(frozen=True)
class Shard:
    """The parts of the store under a key prefix of their own, with default timings."""

    client: redis.Redis
    keys: Keys
    presence: Presence = field(repr=False)
    settings: Settings = field(repr=False)

    @classmethod
    def open(
        cls, client: redis.Redis, prefix: str | None = None, **settings: Any
    ) -> Shard:
        keys = Keys(f"{{t{secrets.token_hex(4)}}}:" if prefix is None else prefix)
        values = Settings(
            database_url="sqlite://",
            redis_url="redis://",
            broker_url="redis://",
            jwt_secret="s" * 32,
            service_key=None,
            **settings,
        )
        state = Presence(values, [keys.prefix], SingleServer(client))
        return cls(client, keys, state, values)

    @property
    def store(self) -> PresenceStore:
        return self.presence.shards[0].store

    @property
    def gateways(self) -> GatewayStore:
        return self.presence.shards[0].gateways

    @property
    def outbox(self) -> Outbox:
        return self.presence.shards[0].outbox

    # What a gateway does, in short

    def connect(
        self, user: str, number: int = 1, gateway: str = GATEWAY, age_ms: int = 0
    ) -> ConnectReply:
        sign = LiveConnection(user, f"{gateway}:{number}", age_ms)
        return self.store.connect(gateway, [sign])

    def release(
        self,
        user: str,
        number: int = 1,
        gateway: str = GATEWAY,
        grace_ms: int = 0,
        age_ms: int = 0,
    ) -> int:
        gone = ClosedConnection(user, f"{gateway}:{number}", grace_ms, age_ms)
        return self.store.release(gateway, [gone])

    def expire(self, *users: str) -> list[Transition]:
        return self.store.expire(users).transitions

    def heartbeat(
        self, user: str, number: int = 1, gateway: str = GATEWAY, age_ms: int = 0
    ) -> bool:
        """Whether the connection was found."""
        sign = LiveConnection(user, f"{gateway}:{number}", age_ms)
        return not self.gateways.heartbeat(gateway, [sign]).gone

    # What is in Redis

    def now(self) -> int:
        seconds, micros = self.client.time()
        return seconds * 1000 + micros // 1000

    def is_online(self, user: str) -> bool:
        return bool(self.client.sismember(self.keys.online_users, user))

    def hash(self, user: str) -> dict[str, str]:
        found = self.client.hgetall(self.keys.user_status(user))
        return cast("dict[str, str]", found)

    def hash_ttl(self, user: str) -> int:
        return self.client.pttl(self.keys.user_status(user))

    def connections(self, user: str) -> dict[str, int]:
        found = self.client.zrange(
            self.keys.user_connections(user), 0, -1, withscores=True
        )
        pairs = cast("list[tuple[str, float]]", found)
        return {connection: int(deadline) for connection, deadline in pairs}

    def deadline(self, user: str) -> int | None:
        score = self.client.zscore(self.keys.deadlines, user)
        return None if score is None else int(score)

    def holds(self, user: str, gateway: str = GATEWAY) -> bool:
        return bool(self.client.sismember(self.keys.gateway_users(gateway), user))

    def waiting(self, most: int = 1000) -> list[OutboxEntry]:
        """The transitions in the outbox, oldest first."""
        found = self.client.xrange(self.keys.transitions, count=most)
        seen = [
            int(data["last_seen"]) if "last_seen" in data else None
            for _, data in cast("list[tuple[str, dict[str, str]]]", found)
        ]
        entries = self.outbox_after("-", most)
        return [
            OutboxEntry(*entry, last_seen=last_seen)
            for entry, last_seen in zip(entries, seen, strict=True)
        ]

    def transitions(self) -> list[Transition]:
        return [transition for _, transition in self.outbox_after("-", 1000)]

    def outbox_after(
        self, begin: str, most: int | None = None
    ) -> list[tuple[str, Transition]]:
        """The ids and transitions of the outbox entries from `begin`, oldest first."""
        found = self.client.xrange(self.keys.transitions, begin, count=most)
        entries = cast("list[tuple[str, dict[str, Any]]]", found)
        return [
            (
                entry_id,
                Transition(data["user_id"], data["status"], int(data["timestamp"])),
            )
            for entry_id, data in entries
        ]

    def all_keys(self) -> set[str]:
        return set(self.client.scan_iter(match=self.keys.prefix + "*", count=1000))

    # What tests do to it

    def let_pass(self, milliseconds: int, *users: str) -> None:
        """Make everything of `users` that much older, as if time had passed."""
        for user in users:
            connections = self.keys.user_connections(user)
            for connection in self.connections(user):
                self.client.zincrby(connections, -milliseconds, connection)
            if self.deadline(user) is not None:
                self.client.zincrby(self.keys.deadlines, -milliseconds, user)
            for key in (connections, self.keys.user_status(user)):
                ttl = self.client.pttl(key)
                if ttl > 0:
                    self.client.pexpire(key, ttl - milliseconds)
        # A status that has expired does not keep its timestamp: as in truth, the next
        # one is later because the clock is.
        now = self.now()
        while self.now() == now:
            pass

    def kill_gateway(self, gateway: str) -> None:
        """Make its deadline pass."""
        self.client.zadd(self.keys.gateways, {gateway: self.now() - 1})

    def remove(self) -> None:
        found = self.all_keys()
        if found:
            self.client.delete(*found)
