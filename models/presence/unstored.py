"""Transitions that must still be stored in SQL: a queue in each shard.

`Outbox` adds the transitions that it acknowledges. A worker reads them, writes them to
SQL, and only then removes them. So each is written at least once, whenever a process
dies. While the database accepts no writes they wait here, up to a bound.

If transitions were lost, the worker *walks*: it compares each user in SQL with Redis.
Transitions are lost if the bound is reached, if Redis loses data, or if a worker of an
older version drains the outbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.events import MAX_TIMESTAMP, NewerVersion, UnreadableMessage
from models.identifiers import check_user_id
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import entries_with_ids, run_script
from models.recorded import RecordedTransition

LEASE_MS = 20_000
"""Milliseconds that a process may take for one batch, before another takes over."""
VERSION = b"1"
"""Of an entry's fields, as in acknowledge.lua."""
_ONLINE = {b"online": True, b"offline": False}


@dataclass(frozen=True, slots=True)
class UnstoredEntry:
    """An entry of the queue, or the reason why it cannot be read."""

    entry_id: str
    content: RecordedTransition | UnreadableMessage


@dataclass(frozen=True, slots=True)
class Unstored:
    """What one shard has to store. Times are ms; 0 for never."""

    now: int
    epoch: int
    walk: str
    """What `walked` was last given; '' if a walk has to begin."""
    entries: list[UnstoredEntry]


class UnstoredTransitions:
    """The queue of one shard. Methods raise `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Keys) -> None:
        self._backend = backend
        self._keys = keys

    def take(self, token: str, after: str, limit: int) -> Unstored | None:
        """Take or renew the lease for `token`, and read at most `limit` of the oldest
        entries whose ids come after `after`. None if another process has the lease."""
        keys = self._keys
        names = [keys.unstored_writer, keys.unstored, keys.unstored_state, keys.epoch]
        command = run_script("unstored_take", names, (token, LEASE_MS, after, limit))
        (reply,) = self._backend.run(keys.shard, [command], raw=True)
        if not reply:
            return None
        now, epoch, walk, entries = reply
        return Unstored(
            int(now),
            int(epoch),
            walk.decode("ascii", "replace"),
            [
                UnstoredEntry(entry_id, _content(fields))
                for entry_id, fields in entries_with_ids(entries)
            ],
        )

    def done(self, entry_ids: Sequence[str]) -> None:
        """These entries are stored: remove them."""
        if entry_ids:
            names = [self._keys.unstored, self._keys.unstored_state]
            command = run_script("unstored_done", names, entry_ids)
            self._backend.run(self._keys.shard, [command])

    def walked(self, stood: str, to: str) -> None:
        """The walk has got from `stood` to `to`. Does nothing if the walk was begun
        anew in the meantime."""
        names = [self._keys.unstored_state]
        command = run_script("unstored_walk", names, [stood, to])
        self._backend.run(self._keys.shard, [command])

    def leave(self, token: str) -> None:
        """Give up the lease, if `token` has it."""
        command = run_script("leave", [self._keys.unstored_writer], [token])
        self._backend.run(self._keys.shard, [command])


def _content(fields: Sequence[bytes]) -> RecordedTransition | UnreadableMessage:
    data = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        if data[b"v"] != VERSION:
            return NewerVersion(f"version {data[b'v']!r:.20}")
        return RecordedTransition(
            check_user_id(data[b"user_id"].decode()),
            _time(data[b"timestamp"]),
            _ONLINE[data[b"status"]],
            _time(data[b"last_seen"]),
        )
    except (KeyError, ValueError) as error:
        return UnreadableMessage(f"not a transition: {error!r:.100}")


def _time(text: bytes) -> int:
    if not text.isdigit() or int(text[:20]) >= MAX_TIMESTAMP:
        message = f"no time: {text!r:.60}"
        raise ValueError(message)
    return int(text)
