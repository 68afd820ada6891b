"""The outbox: every transition, until it has been broadcast.

The scripts that make a transition write it here in the same step. One drainer at a time
reads, publishes and then acknowledges; if it dies, what it did not acknowledge is still
here, and its lease runs out. So delivery is at least once and in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.events import (
    Transition,
    UnreadableMessage,
    check_transition,
    check_version,
)
from models.identifiers import check_user_id
from models.presence.keys import Keys
from models.presence.redis.backend import Link
from models.presence.redis.roundtrip import Command, entries_of, reading, with_ids
from models.presence.redis.scripts import pipelined, words

_ANOTHER = -1
LEASE_MS = 5000
"""How long a drainer may take for one batch before another takes over."""
MOST_ENTRIES = 100_000
"""As transition.lua has it: entries that wait where no worker drains."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """What is acknowledged under `entry_id`: a transition, or the reason why it cannot
    be read."""

    entry_id: str
    transition: Transition | UnreadableMessage


class Outbox:
    """The outbox of one shard. Methods raise `PresenceUnavailable` like the store's."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._names = [keys.transitions, keys.drainer, keys.taken]
        self._has_looked = False

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
        drain = words("drain", self._names, args + self._ids(published))
        if not wait_ms:
            (reply,) = self._ask("drain", [drain])
            return None if reply == _ANOTHER else _entries(with_ids(reply))
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
        args: list[str | int] = [token, int(unfinished), *self._ids(published)]
        (stopped,) = self._ask("drain_end", [words("drain_end", self._names, args)])
        return bool(stopped)

    def owe(self, shards: Iterable[int]) -> None:
        """Remember that `shards` did not answer: of their users, and of the gateways
        whose home they are, some were not told what was acknowledged here. This shard
        itself: something was acknowledged that nobody could be told."""
        numbers = list(shards)
        self._link.call(lambda redis: redis.sadd(self._keys.owed, *numbers))

    def is_owing(self) -> bool:
        """Whether transitions that are not in the outbox any more were not told to all:
        `owe` was called, or entries are gone that no drainer has taken. Give everybody
        a fresh snapshot, and call `settle`."""
        keys = [self._keys.transitions, self._keys.taken, self._keys.owed]
        args = [self._link.shard, MOST_ENTRIES, int(self._has_looked)]
        (owing,) = self._ask("owed", [words("owed", keys, args)])
        self._has_looked = True  # from now on the number of those taken is there
        return bool(owing)

    def settle(self) -> None:
        """All that was owed has been made good."""
        self._link.call(lambda redis: redis.delete(self._keys.owed))

    def length(self) -> int:
        """How many transitions wait to be broadcast."""
        length: Any = self._link.call(lambda redis: redis.xlen(self._keys.transitions))
        return int(length)

    def _ids(self, published: Sequence[OutboxEntry]) -> list[str | int]:
        return [entry.entry_id for entry in published]

    def _ask(self, script: str, commands: Sequence[Command]) -> list[Any]:
        """The raw replies to `commands`, of which one runs the `script`."""
        return self._link.call(
            lambda client: pipelined(client, commands, [script], raw=True)
        )


def _entries(found: Iterable[tuple[str, Sequence[bytes]]]) -> list[OutboxEntry]:
    return [OutboxEntry(entry_id, _transition(fields)) for entry_id, fields in found]


def _transition(fields: Sequence[bytes]) -> Transition | UnreadableMessage:
    """Anybody may have written the `fields`. One bad entry must not stop the others."""
    data = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        check_version(data.get(b"v", b"0"))
        user_id, status = (data[name].decode() for name in (b"user_id", b"status"))
        return check_transition(
            check_user_id(user_id), status, int(data[b"timestamp"][:20])
        )
    except UnreadableMessage as error:
        return error
    except (KeyError, ValueError) as error:
        return UnreadableMessage(f"no transition: {error!r:.100}")
