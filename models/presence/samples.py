"""What the operators' page shows of the past: samples of the state, and the transitions
that were broadcast last.

Workers write them, and the page reads them. Both are small, have a limit, and expire.
Nothing else depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from models.events import Status, Transition
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command

KEPT_SAMPLES = 60
"""One a minute, so an hour."""
KEPT_TRANSITIONS = 20
"""Per shard."""
EXPIRE_MS = 2 * 3600 * 1000
"""Milliseconds after the last write."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state in a few numbers, at one moment."""

    online: int
    connections: int
    gateways: int
    outbox: int
    transitions: int
    """All transitions that workers have counted, see `models.worker_metrics`."""


class Samples:
    """The samples, in the first shard. Methods raise `PresenceUnavailable` like the
    store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys[0]

    def add(self, sample: Sample) -> None:
        """Add a sample of this moment, and drop the oldest one above the limit."""
        names = (one.name for one in fields(Sample))
        words = [
            word for pair in zip(names, astuple(sample), strict=True) for word in pair
        ]
        key = self._keys.samples
        self._backend.run(
            self._keys.shard,
            [
                ("XADD", key, "MAXLEN", KEPT_SAMPLES, "*", *words),
                ("PEXPIRE", key, EXPIRE_MS),
            ],
        )

    def read(self) -> list[tuple[int, Sample]]:
        """The samples, the oldest first, each with its time (ms)."""
        command = ("XRANGE", self._keys.samples, "-", "+")
        (entries,) = self._backend.run(self._keys.shard, [command])
        return [
            (_time(entry_id), _sample(_pairs(words))) for entry_id, words in entries
        ]


class RecentTransitions:
    """The transitions that were broadcast last, per shard. Methods raise
    `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def add(self, shard: int, transitions: Iterable[Transition]) -> None:
        """Add `transitions`, and drop the oldest ones above the limit."""
        key = self._keys[shard].recent
        commands: list[Command] = [
            (
                *("XADD", key, "MAXLEN", KEPT_TRANSITIONS, "*", "user_id", one.user_id),
                *("status", one.status, "timestamp", one.timestamp),
            )
            for one in transitions
        ]
        self._backend.run(shard, [*commands, ("PEXPIRE", key, EXPIRE_MS)])

    def read(self) -> list[Transition]:
        """The newest transitions of all shards that answer, the newest first.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [("XRANGE", keys.recent, "-", "+")] for keys in self._keys
        }
        found = [
            Transition(one["user_id"], _status(one), int(one["timestamp"]))
            for (entries,) in self._backend.gather(commands).some().values()
            for one in (_pairs(words) for _, words in entries)
        ]
        found.sort(key=lambda one: one.timestamp, reverse=True)
        return found[:KEPT_TRANSITIONS]


def _time(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


def _sample(found: Mapping[str, str]) -> Sample:
    return Sample(**{one.name: int(found.get(one.name, 0)) for one in fields(Sample)})


def _status(found: Mapping[str, str]) -> Status:
    return "online" if found["status"] == "online" else "offline"
