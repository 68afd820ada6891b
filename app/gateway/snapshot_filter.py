"""Decides which status events a client still needs after a snapshot.

A change made before a snapshot was read is in the snapshot. The event of that change
may arrive after the snapshot: a moment later, or minutes later if no worker ran. The
client must not get the change twice. So each connection keeps a filter that knows what
is in its last snapshot.

The timestamps of all friends, kept as long as the socket lives, would cost more memory
than the socket. After some seconds one number is enough: the time at which the snapshot
was read. Timestamps come from the same clock, so all older changes are in the snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.websocket.frames import text_frame
from models import events
from models.events import Delivery


@dataclass(slots=True)
class StatusEvent:
    """A user's status or detail, and its frame. `timestamp` is in ms.

    The status in an introduction may be old: the user has just become relevant to the
    recipient, and the status has not changed. An event with `for_viewers` says that the
    user has become hidden from the recipient, or visible to the recipient.

    `frame` is for clients that do not want details. If only the detail has changed, it
    is empty.
    """

    user_id: str
    timestamp: int
    frame: bytes
    is_introduction: bool = False
    for_viewers: bool = False
    delivery: Delivery | None = None
    _with_detail: bytes | None = None

    @property
    def is_detail_only(self) -> bool:
        """Whether only the detail has changed."""
        return not self.frame

    def frame_with_detail(self) -> bytes:
        """The frame for clients that want details. It is encoded at the first call."""
        if self._with_detail is None:
            assert self.delivery is not None  # noqa: S101 - only tests leave it out
            encode = (
                events.friend_detail_changed
                if self.is_detail_only
                else events.friend_status_changed_with_detail
            )
            self._with_detail = text_frame(encode(self.delivery))
        return self._with_detail


def oldest(status_events: Iterable[StatusEvent]) -> float:
    """The oldest timestamp of `status_events` (ms), without introductions. A snapshot
    that was read at or before that time contains none of these changes. Infinity if all
    events are introductions."""
    return min(
        (event.timestamp for event in status_events if not event.is_introduction),
        default=math.inf,
    )


@dataclass(frozen=True, slots=True)
class ShortFilter:
    """The short form of a filter. The snapshot contains all changes before `read_at`
    (ms). For the few users in `ahead` it contains all changes up to the timestamp
    there."""

    read_at: int
    ahead: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, times: Mapping[str, int], read_at: int, keep: Collection[str] = ()
    ) -> ShortFilter:
        """The filter for snapshots that were read together at `read_at` (ms). `times`
        are the timestamps in them. The timestamps of the users in `keep` are always
        kept, because what the client may see of these users can change."""
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

    `users` are the users in that snapshot, and `times` has their timestamps (ms). All
    snapshots that were read together share one `times`, so it has more users than this
    snapshot. `short` is the short form that replaces this filter later.
    """

    users: AbstractSet[str]
    times: Mapping[str, int]
    short: ShortFilter
    read_times: Mapping[str, int] = field(default_factory=dict)
    """For users whose `last_seen` is hidden: their time in the snapshot (ms). It is the
    time of the read, not of their last event."""

    def is_lost(self, event: StatusEvent) -> bool:
        """Whether the client will drop `event`, although it needs it. A change of
        visibility takes its number before it is stored. A snapshot that is read in
        between has the old rule and may have a newer time."""
        return event.for_viewers and event.timestamp <= self.read_times.get(
            event.user_id, -1
        )

    def passes(self, event: StatusEvent) -> bool:
        """Like `ShortFilter.passes`, but exact for introductions too."""
        user_id = event.user_id
        return user_id not in self.users or event.timestamp > self.times[user_id]
