"""The outbox: every transition, until it has been broadcast.

The scripts that make a transition write it here in the same step. One drainer at a time
reads, publishes and then acknowledges; if it dies, what it did not acknowledge is still
here, and its lease runs out. So delivery is at least once and in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from models.events import Status, Transition
from models.presence.errors import translated
from models.presence.keys import Keys
from models.presence.scripts import Scripts

_ANOTHER = -1
LEASE_MS = 5000
"""How long a drainer may take for one batch before another takes over."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A transition and the id under which it is acknowledged."""

    entry_id: str
    transition: Transition


class Outbox:
    """The outbox of one shard. Methods raise `PresenceUnavailable` like the store's."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys
        self._both = [keys.transitions, keys.drainer]
        self._scripts = Scripts(client)

    def drain(
        self, token: str, published: Sequence[OutboxEntry] = (), most: int = 500
    ) -> list[OutboxEntry] | None:
        """Acknowledge what is `published`, become the drainer or stay it for another
        lease, and give the oldest `most` entries; all in one step. None: another is the
        drainer."""
        args: list[str | int] = [token, LEASE_MS, most, *_ids(published)]
        reply = self._scripts.run("drain", self._both, args)
        if reply == _ANOTHER:
            return None
        return [
            _entry(entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
            for entry_id, fields in reply
        ]

    def read(self, most: int, wait_ms: int) -> list[OutboxEntry]:
        """The oldest `most` entries; waits up to `wait_ms` for the first one."""
        with translated():
            reply = cast(
                "Any",
                self._redis.xread(
                    {self._keys.transitions: "0"}, count=most, block=max(1, wait_ms)
                ),
            )
        if not reply:
            return []
        ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
        return [_entry(entry_id, data) for entry_id, data in entries]

    def leave(
        self,
        token: str,
        published: Sequence[OutboxEntry] = (),
        *,
        unfinished: bool = False,
    ) -> bool:
        """Acknowledge what is `published`, and stop draining if nothing is left, or at
        once where `unfinished`, so that the next drain need not wait for the lease.
        False: there is more to drain."""
        args: list[str | int] = [token, int(unfinished), *_ids(published)]
        return bool(self._scripts.run("drain_end", self._both, args))

    def length(self) -> int:
        """How many transitions wait to be broadcast."""
        with translated():
            return int(cast("Any", self._redis.xlen(self._keys.transitions)))


def _ids(entries: Sequence[OutboxEntry]) -> list[str]:
    return [entry.entry_id for entry in entries]


def _entry(entry_id: str, data: dict[str, str]) -> OutboxEntry:
    status: Status = "online" if data["status"] == "online" else "offline"
    transition = Transition(data["user_id"], status, int(data["timestamp"]))
    return OutboxEntry(entry_id, transition)
