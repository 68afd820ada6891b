"""Which status events a client still needs after a snapshot.

A change made before a snapshot was read is in the snapshot. Its event may arrive later:
a moment later, or minutes later if no worker ran. The client must not get it again, so
each connection keeps a filter that knows what its last snapshot told.

Keeping the timestamps of all friends for as long as a socket lives would cost more
memory than the socket. After some seconds one number is enough: the time at which the
snapshot was read. Timestamps are times of the same clock, so the snapshot told
everything that is older.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A user's status and its frame. `is_introduction`: the recipient may see the user
    only from now on, so the status may have any age. `for_viewers`: the user has become
    hidden from the recipient, or visible. `timestamp` is ms."""

    user_id: str
    timestamp: int
    frame: bytes
    is_introduction: bool = False
    for_viewers: bool = False


def oldest(status_events: Iterable[StatusEvent]) -> float:
    """The oldest timestamp of `status_events` (ms). A snapshot read up to that time
    told none of them. Infinity if all of them are introductions."""
    return min(
        (event.timestamp for event in status_events if not event.is_introduction),
        default=math.inf,
    )


@dataclass(frozen=True, slots=True)
class SettledFilter:
    """The short form of a filter. The snapshot told everything older than `read_at`
    (ms). For the few users in `ahead` it told everything up to the timestamp there."""

    read_at: int
    ahead: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, times: Mapping[str, int], read_at: int, keep: Collection[str] = ()
    ) -> SettledFilter:
        """The filter for snapshots that were read together at `read_at` (ms), and
        contained these timestamps. It keeps those of the users in `keep`, whose
        visibility may change."""
        ahead = {
            user: time
            for user, time in times.items()
            if time >= read_at or user in keep
        }
        return cls(read_at, ahead)

    def passes(self, event: StatusEvent) -> bool:
        """Whether the client needs `event` after the snapshot."""
        if event.is_introduction:
            return True
        if event.for_viewers:  # the snapshot may have read the rule before it changed
            return event.timestamp > self.ahead.get(event.user_id, -1)
        return event.timestamp > self.ahead.get(event.user_id, self.read_at - 1)


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """The exact filter for one client's snapshot.

    `users` are the users in that snapshot. `times` has their timestamps (ms), and those
    of all users in snapshots that were read with it: one map is shared by all of them.
    `settled` is the short form that replaces this filter later.
    """

    users: AbstractSet[str]
    times: Mapping[str, int]
    settled: SettledFilter

    def passes(self, event: StatusEvent) -> bool:
        """As `SettledFilter.passes`, and exact for introductions too."""
        user_id = event.user_id
        return user_id not in self.users or event.timestamp > self.times[user_id]
