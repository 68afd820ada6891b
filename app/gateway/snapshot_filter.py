"""News, and what of it a client is not to hear since a snapshot has told it.

A change that was made before a snapshot was read is in the snapshot, but its event may
come later: in a moment, or minutes later if no worker was there. The client must not
hear it again, so each connection knows what its snapshot has told.

To keep the timestamps of all friends for as long as a socket lives would cost more than
the socket. After some seconds one number does: the time at which the snapshot was read.
Timestamps are times of the same clock, so whatever is older was told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class News:
    """A status and its frame. `is_introduction`: the recipient may see the user only
    now, so the status may be of any age."""

    user_id: str
    timestamp: int
    frame: bytes
    is_introduction: bool = False


def oldest(news: Iterable[News]) -> float:
    """No snapshot that was read up to this time (ms) has told any of `news`. Infinity
    where there are introductions only."""
    return min(
        (math.inf if item.is_introduction else item.timestamp for item in news),
        default=math.inf,
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """What a snapshot has told, in short: all that is older than `read_at` (ms), and of
    the users in `ahead`, who are few, what is not newer than the timestamp there."""

    read_at: int
    ahead: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, times: Mapping[str, int], read_at: int) -> Settled:
        """What snapshots told that were read together, with these timestamps."""
        ahead = {user: time for user, time in times.items() if time >= read_at}
        return cls(read_at, ahead)

    def lets_pass(self, news: News) -> bool:
        """Whether the client is to hear `news` after this snapshot."""
        if news.is_introduction:
            return True
        return news.timestamp > self.ahead.get(news.user_id, self.read_at - 1)


@dataclass(frozen=True, slots=True)
class Known:
    """All that a snapshot has told. `users` are those in the client's own snapshot.
    `times` holds their timestamps (ms), and those of all users in others that were read
    together: it is one map for all of them, so it alone does not say who was told of
    whom. `settled` is what is remembered of it later."""

    users: AbstractSet[str]
    times: Mapping[str, int]
    settled: Settled

    def lets_pass(self, news: News) -> bool:
        """As of `Settled`, but exact for introductions too."""
        user_id = news.user_id
        return user_id not in self.users or news.timestamp > self.times[user_id]
