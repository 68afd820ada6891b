"""What a snapshot has told a client, so that no event tells it again."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """`users` are those in the client's own snapshot. `times` holds their timestamps
    (ms), and those of whoever is in others that were read together: it is one map for
    all of them, so it alone does not say who was told of whom."""

    users: AbstractSet[str]
    times: Mapping[str, int]

    def has(self, user_id: str, timestamp: int) -> bool:
        """Whether the snapshot says as much of `user_id` as an event of `timestamp`."""
        return user_id in self.users and timestamp <= self.times[user_id]
