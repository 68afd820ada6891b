"""A shard whose changes go to a receiver, without processes: tests do each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Engine

from config import Settings
from models.presence.keys import receiver_id
from models.presence.store import LiveConnection
from tasks.webhooks import Sender
from tests.presence.shard import GATEWAY, Shard
from tests.webhooks.receiver import Receiver


@dataclass
class World:
    """The parts. Users are changed in `shard`."""

    shard: Shard
    engine: Engine
    settings: Settings
    receiver: Receiver

    def sender(self) -> Sender:
        """A sender as each task makes one. The lease of the last one is over."""
        self.shard.client.delete(self.shard.keys.webhook_sender(self.id))
        return Sender(
            self.shard.presence, self.engine, self.settings, self.receiver.url
        )

    @property
    def id(self) -> str:
        """What stands for the receiver in keys."""
        return receiver_id(self.receiver.url)

    def online(self, *users: str) -> None:
        """Users come online."""
        for user in users:
            self.shard.connect(user)

    def offline(self, *users: str) -> None:
        """Users go offline."""
        for user in users:
            self.shard.release(user)
        self.shard.expire(*users)

    def idle(self, user: str, *, is_idle: bool = True) -> None:
        """The person of a user goes away, or comes back."""
        live = LiveConnection(user, f"{GATEWAY}:1", is_idle=is_idle)
        self.shard.store.activity([live])

    def drain(self) -> None:
        """As a drainer that has published all."""
        outbox = self.shard.outbox
        entries = outbox.take("a drainer") or []
        assert outbox.release_lease("a drainer", entries)

    def send(self) -> None:
        """Send what may be sent now."""
        sender = self.sender()
        while sender.step():
            pass

    def state(self, field: str) -> str | None:
        """A field of the receiver's state."""
        name = self.shard.keys.webhook_state(self.id)
        return cast("str | None", self.shard.client.hget(name, field))

    def set_state(self, **fields: str | int) -> None:
        """Write fields of the receiver's state."""
        name = self.shard.keys.webhook_state(self.id)
        for field, value in fields.items():
            self.shard.client.hset(name, field, str(value))

    def pending(self) -> set[str]:
        """Users whose newest state the receiver must still hear."""
        name = self.shard.keys.webhook_changed(self.id)
        return {str(user) for user in self.shard.client.zrange(name, 0, -1)}

    def let_retry(self) -> None:
        """The backoff is over."""
        self.shard.client.hdel(self.shard.keys.webhook_state(self.id), "next_at")

    def finish_walk(self) -> None:
        """The receiver has heard of all users before the test began."""
        self.shard.outbox.release_lease("a drainer", [])
        self.set_state(walk="0")

    def settle(self) -> None:
        """Sweeps have run long enough, so all gateways have registered."""
        now = self.shard.now()
        sweeps = self.shard.keys.sweeps
        self.shard.client.hset(sweeps, "last", str(now))
        self.shard.client.hset(sweeps, "no_gap_since", str(now - 60_000))
