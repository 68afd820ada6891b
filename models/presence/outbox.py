"""The outbox: every transition, until it has been broadcast.

The script that makes a transition adds it to the outbox in the same step. One drainer
at a time reads entries, publishes them and then acknowledges them. If it dies, the
entries that it did not acknowledge are still here, and its lease expires. So delivery
is at least once and in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from models.events import (
    MAX_TIMESTAMP,
    Activity,
    DetailChange,
    Transition,
    UnreadableMessage,
    VisibilityChange,
    check_transition,
    check_version,
)
from models.identifiers import check_user_id
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import (
    entries_with_ids,
    read_stream,
    run_script,
    stream_entries,
)
from models.presence.replies import time_of
from models.telemetry import causes

EntryContent = Transition | VisibilityChange | DetailChange
"""What an entry may contain."""
_ANOTHER = -1
LEASE_MS = 5000
"""Milliseconds that a drainer may take for one batch before another takes over."""
MAX_ENTRIES = 100_000
"""Entries that the outbox keeps if no worker drains it; as in transition.lua."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An entry of the outbox, or the reason why it cannot be read."""

    entry_id: str
    content: EntryContent | UnreadableMessage
    fields: Sequence[bytes] = field(default=(), compare=False)
    """What Redis holds: names and values in turn."""
    last_seen: int | None = None
    """When the user was last seen at a transition (ms). None if a process of an older
    version has written the entry."""


class Outbox:
    """The outbox of one shard. Methods raise `PresenceUnavailable` like the store's."""

    def __init__(
        self, backend: Backend, keys: Keys, receivers: Sequence[str] = ()
    ) -> None:
        """`receivers`: ids of the webhook receivers that must hear of each change."""
        self._backend = backend
        self._keys = keys
        self._script_keys = [keys.transitions, keys.drainer, keys.taken]
        self._script_keys += [keys.unstored, keys.unstored_state]
        for receiver in receivers:
            self._script_keys += [
                keys.webhook_changed(receiver),
                keys.webhook_state(receiver),
            ]
        self._has_receivers = bool(receivers)
        self._has_checked = False

    def take(
        self,
        token: str,
        published: Sequence[OutboxEntry] = (),
        limit: int = 500,
        wait_ms: int = 0,
    ) -> list[OutboxEntry] | None:
        """Acknowledge `published` entries, take or renew the drainer's lease for
        `token`, and return the oldest `limit` entries. This is one atomic step. In it,
        what is acknowledged goes to the webhook receivers, and to the transitions that
        must be stored in SQL.

        If the outbox is empty, wait up to `wait_ms` for an entry, in the same round
        trip. Returns None if another drainer holds the lease.
        """
        args: list[str | int] = [token, LEASE_MS, 0 if wait_ms else limit]
        args += self._acknowledged(published)
        commands = [run_script("drain", self._script_keys, args)]
        if wait_ms:
            commands.append(read_stream(self._keys.transitions, "0", limit, wait_ms))
        replies = self._backend.run(self._keys.shard, commands, raw=True)
        if replies[0] == _ANOTHER:
            return None
        found = stream_entries(replies[1]) if wait_ms else entries_with_ids(replies[0])
        return [entry_of(entry_id, fields) for entry_id, fields in found]

    def release_lease(
        self,
        token: str,
        published: Sequence[OutboxEntry] = (),
        *,
        unfinished: bool = False,
    ) -> bool:
        """Acknowledge `published` entries, and give up the drainer's lease if the
        outbox is empty. With `unfinished`, give up the lease in any case, so that the
        next drainer need not wait until the lease expires.

        Returns False if there is more to drain.
        """
        args: list[str | int] = [token, int(unfinished)]
        args += self._acknowledged(published)
        command = run_script("drain_end", self._script_keys, args)
        (stopped,) = self._backend.run(self._keys.shard, [command])
        return bool(stopped)

    def _acknowledged(self, published: Sequence[OutboxEntry]) -> list[str | int]:
        """Arguments of acknowledge.lua."""
        args: list[str | int] = [len(published)]
        args += [entry.entry_id for entry in published]
        to_store: list[str | int] = []
        changes: list[str | int] = []
        has_unreadable = False
        for entry in published:
            one = entry.content
            if isinstance(one, Transition):
                seen = one.timestamp if entry.last_seen is None else entry.last_seen
                to_store += (one.user_id, one.status, one.timestamp, seen)
            # Whether a viewer may see the user is nothing to the host.
            if isinstance(one, Transition | DetailChange):
                changes += (one.timestamp, one.user_id)
            has_unreadable |= isinstance(one, UnreadableMessage)
        args += (int(has_unreadable), len(to_store) // 4, *to_store)
        return args + changes if self._has_receivers else args

    def record_missed(self, shards: Iterable[int]) -> None:
        """Record the numbers of shards that did not answer. Their users missed
        transitions that are acknowledged here. So did the gateways whose streams are in
        these shards. This shard's own number means that an acknowledged transition
        reached nobody."""
        self._backend.run(self._keys.shard, [("SADD", self._keys.missed, *shards)])

    def has_missed(self) -> bool:
        """Whether users missed transitions that have left the outbox: `record_missed`
        was called, or entries are gone that no drainer has taken. If so, send fresh
        snapshots to all, and call `clear_missed`."""
        keys = [self._keys.transitions, self._keys.taken, self._keys.missed]
        args = [self._keys.shard, MAX_ENTRIES, int(self._has_checked)]
        command = run_script("missed", keys, args)
        (has_missed,) = self._backend.run(self._keys.shard, [command])
        self._has_checked = True  # from now on the number of taken entries exists
        return bool(has_missed)

    def clear_missed(self) -> None:
        """All users have been sent fresh snapshots."""
        self._backend.run(self._keys.shard, [("DEL", self._keys.missed)])

    def length(self) -> int:
        """How many transitions wait to be broadcast."""
        (length,) = self._backend.run(
            self._keys.shard, [("XLEN", self._keys.transitions)]
        )
        return int(length)


def entry_of(entry_id: str, fields: Sequence[bytes]) -> OutboxEntry:
    """The entry with these `fields`: names and values in turn."""
    data = dict(zip(fields[::2], fields[1::2], strict=True))
    seen = time_of(data.get(b"last_seen", b"").decode("ascii", "replace"))
    return OutboxEntry(entry_id, _content(data), fields, seen)


def _content(data: Mapping[bytes, bytes]) -> EntryContent | UnreadableMessage:
    """What is in the fields `data`, or the reason why they cannot be read. Another
    program may have written them, and a bad entry must not stop the other entries."""
    try:
        check_version(data.get(b"v", b"0"))
        user_id = check_user_id(data[b"user_id"].decode())
        cause = causes.checked(data.get(b"cause", b"")[:256].decode("latin-1"))
        timestamp = int(data[b"timestamp"][:20])
        if b"online_to" in data:
            check_transition(user_id, "online", timestamp)
            return VisibilityChange(
                user_id,
                timestamp,
                online_to=data[b"online_to"].decode(),
                offline_to=data[b"offline_to"].decode(),
                activity=_activity(data),
                cause=cause,
            )
        if b"detail" in data:
            check_transition(user_id, "online", timestamp)
            by_setting = data[b"detail"] == b"set"
            return DetailChange(user_id, timestamp, _activity(data), by_setting, cause)
        return check_transition(user_id, data[b"status"].decode(), timestamp, cause)
    except UnreadableMessage as error:
        return error
    except (KeyError, ValueError) as error:
        return UnreadableMessage(f"not a transition: {error!r:.100}")


def _activity(data: Mapping[bytes, bytes]) -> Activity:
    return Activity(*(_time(data, name) for name in (b"idle_since", b"active_since")))


def _time(data: Mapping[bytes, bytes], name: bytes) -> int | None:
    text = data.get(name, b"")
    if not text:
        return None
    if not text.isdigit() or int(text[:20]) >= MAX_TIMESTAMP:
        message = f"{name.decode()} is no time: {text!r:.60}"
        raise UnreadableMessage(message)
    return int(text)
