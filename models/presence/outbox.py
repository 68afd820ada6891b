"""The outbox: every transition, until it has been broadcast.

The scripts that make a transition write it here in the same step. One drainer at a time
reads, publishes and then acknowledges; if it dies, what it did not acknowledge is still
here, and its lease runs out. So delivery is at least once and in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.events import Status, Transition
from models.presence.keys import Keys
from models.presence.line import Command, entries_of, reading
from models.presence.scripts import pipelined, words
from models.presence.servers import Link

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

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._both = [keys.transitions, keys.drainer]

    def drain(
        self,
        token: str,
        published: Sequence[OutboxEntry] = (),
        most: int = 500,
        wait_ms: int = 0,
    ) -> list[OutboxEntry] | None:
        """Acknowledge what is `published`, become the drainer or stay it for another
        lease, all in one step, and give the oldest `most` entries. Where there is none,
        wait up to `wait_ms` for the first one, in the same round trip. None: another is
        the drainer."""
        args: list[str | int] = [token, LEASE_MS, 0 if wait_ms else most]
        drain = words("drain", self._both, args + _ids(published))
        if not wait_ms:
            (reply,) = self._ask("drain", [drain])
            return None if reply == _ANOTHER else _entries(reply)
        wait = reading(self._keys.transitions, "0", most, wait_ms)
        reply, found = self._ask("drain", [drain, wait])
        return None if reply == _ANOTHER else _entries(entries_of(found))

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
        (stopped,) = self._ask("drain_end", [words("drain_end", self._both, args)])
        return bool(stopped)

    def owe(self, shards: Iterable[int]) -> None:
        """Remember that `shards` did not answer: of their users, and of the gateways
        whose home they are, some were not told what was acknowledged here."""
        numbers = list(shards)
        self._link.call(lambda redis: redis.sadd(self._keys.owed, *numbers))

    def owed(self) -> set[int]:
        """The shards of `owe`."""
        found: Any = self._link.call(lambda redis: redis.smembers(self._keys.owed))
        return set(map(int, found))

    def settle(self) -> None:
        """All that was owed has been made good."""
        self._link.call(lambda redis: redis.delete(self._keys.owed))

    def _ask(self, script: str, commands: Sequence[Command]) -> list[Any]:
        """The replies to `commands`, of which one runs the `script`."""
        return self._link.call(lambda client: pipelined(client, commands, [script]))

    def length(self) -> int:
        """How many transitions wait to be broadcast."""
        length: Any = self._link.call(lambda redis: redis.xlen(self._keys.transitions))
        return int(length)


def _ids(entries: Sequence[OutboxEntry]) -> list[str | int]:
    return [entry.entry_id for entry in entries]


def _entries(found: Iterable[tuple[str, Sequence[str]]]) -> list[OutboxEntry]:
    return [_entry(entry_id, fields) for entry_id, fields in found]


def _entry(entry_id: str, fields: Sequence[str]) -> OutboxEntry:
    data = dict(zip(fields[::2], fields[1::2], strict=True))
    status: Status = "online" if data["status"] == "online" else "offline"
    transition = Transition(data["user_id"], status, int(data["timestamp"]))
    return OutboxEntry(entry_id, transition)
