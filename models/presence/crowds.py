"""Changes of users with very large audiences, on their way out of the outbox.

To tell 100,000 users takes a second, and everything behind it in the outbox would wait.
So the drainer moves such a change here, and then acknowledges it. A task of its own
tells the audience, and then removes the change. So delivery is at least once here too.
Changes stay in order, except those that a newer version has written. They stay here for
a newer worker, and those behind them do not wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.presence.keys import Keys
from models.presence.outbox import OutboxEntry, entry_of
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, entries_with_ids

LEASE_MS = 30_000
"""Milliseconds that one task may take for a batch before another takes over."""
MAX_ENTRIES = 10_000
"""Changes that are kept if no worker tells them. Beyond this number the oldest are
deleted."""
FIRST = "0"
"""An id that comes before all entries."""


class Crowds:
    """The changes of one shard. Methods raise `PresenceUnavailable` like the
    store's."""

    def __init__(self, backend: Backend, keys: Keys) -> None:
        self._backend = backend
        self._keys = keys

    def add(self, entries: Sequence[OutboxEntry]) -> None:
        """Add changes that were taken from the outbox."""
        key = self._keys.crowds
        commands: list[Command] = [
            ("XADD", key, "MAXLEN", MAX_ENTRIES, "*", *entry.fields)
            for entry in entries
        ]
        self._backend.run(self._keys.shard, commands)

    def take(
        self, token: str, after: str = FIRST, limit: int = 100
    ) -> list[OutboxEntry] | None:
        """Take or renew the lease for `token`, and return at most `limit` of the oldest
        changes whose ids come after `after`. Returns None if another task has the
        lease."""
        lease = self._keys.crowds_lease
        held, holder, found = self._backend.run(
            self._keys.shard,
            [
                ("SET", lease, token, "NX", "PX", LEASE_MS),
                ("GET", lease),
                ("XRANGE", self._keys.crowds, f"({after}", "+", "COUNT", limit),
            ],
            raw=True,
        )
        if not held and holder != token.encode():
            return None
        return [entry_of(*one) for one in entries_with_ids(found)]

    def forget(self, entries: Sequence[OutboxEntry]) -> None:
        """Remove changes that were told, and renew the lease."""
        commands: list[Command] = [("PEXPIRE", self._keys.crowds_lease, LEASE_MS)]
        if entries:
            ids = [entry.entry_id for entry in entries]
            commands.append(("XDEL", self._keys.crowds, *ids))
        self._backend.run(self._keys.shard, commands)

    def length(self) -> int:
        """How many changes wait to be told."""
        (length,) = self._backend.run(self._keys.shard, [("XLEN", self._keys.crowds)])
        return int(length)

    def leave(self, after: str = FIRST) -> bool:
        """Give up the lease. Returns whether changes wait whose ids come after `after`:
        the caller then continues, because another task may have ended while this one
        held the lease."""
        _, waiting = self._backend.run(
            self._keys.shard,
            [
                ("DEL", self._keys.crowds_lease),
                ("XRANGE", self._keys.crowds, f"({after}", "+", "COUNT", 1),
            ],
        )
        return bool(waiting)
