"""The numbers of the workers in Redis: a hash per shard, with a field for each number.

Workers add to them, and /metrics reads them. What they mean is in
`models.worker_metrics`. A number that is lost, or added twice because a reply was lost,
does no harm to the presence state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command


class WorkerCounts:
    """The numbers of all shards. Methods raise `PresenceUnavailable` like the
    store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def add(self, shard: int, counts: Mapping[str, int]) -> None:
        """Add `counts` to the fields of `shard`, in one round trip."""
        key = self._keys[shard].worker_counts
        self._backend.run(
            shard, [("HINCRBY", key, field, more) for field, more in counts.items()]
        )

    def read(self, fields: Sequence[str]) -> dict[str, int]:
        """The sum of each of `fields` over all shards. Fields that nobody has counted
        are left out.

        Raises:
            PresenceUnavailable: a shard did not answer. A sum without that shard would
                look like a counter that has begun anew.
        """
        commands: dict[int, list[Command]] = {
            keys.shard: [("HMGET", keys.worker_counts, *fields)] for keys in self._keys
        }
        found: dict[str, int] = {}
        for (reply,) in self._backend.gather(commands).all().values():
            for field, value in zip(fields, reply, strict=True):
                if value is not None:
                    found[field] = found.get(field, 0) + int(value)
        return found
