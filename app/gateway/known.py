"""News, and what of it a client is not to hear since a snapshot has told it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class News:
    """A status and its frame."""

    user_id: str
    timestamp: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """`users` are those in the client's own snapshot. `times` holds their timestamps
    (ms), and those of whoever is in others that were read together: it is one map for
    all of them, so it alone does not say who was told of whom."""

    users: AbstractSet[str]
    times: Mapping[str, int]

    def lets_pass(self, news: News) -> bool:
        """Whether the client is to hear `news` after this snapshot: it says less."""
        user_id = news.user_id
        return user_id not in self.users or news.timestamp > self.times[user_id]
