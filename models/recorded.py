"""Transitions as SQL records them, and those that a walk finds. Plain Python."""

from __future__ import annotations

from typing import NamedTuple

from models.events import UserStatus


class RecordedTransition(NamedTuple):
    """A transition of a user. Times are ms."""

    user_id: str
    version: int
    """The timestamp of the transition."""
    online: bool
    last_seen: int


def newest_transition(
    status: UserStatus, stored: RecordedTransition | None, epoch: int
) -> RecordedTransition | None:
    """The newest transition of a user, if the database may lack it. `status` is what
    Redis says, `stored` is the newest one in the database, and at `epoch` (ms) Redis
    was last noticed to have lost data.

    If Redis has lost when an online user left, the user left at `epoch` at the latest.
    """
    user_id, version = status.user_id, status.updated_at
    known = stored.version if stored else 0
    if status.online:
        # A time equal to the epoch is not that of a transition.
        if version < known or (version == epoch and stored and stored.online):
            return None
        online = RecordedTransition(user_id, version, online=True, last_seen=version)
        return online if version else None
    if status.last_seen is not None:
        if version < known:
            return None
        return RecordedTransition(
            user_id, version, online=False, last_seen=status.last_seen
        )
    if stored is None or not stored.online:
        return None
    end = max(stored.last_seen, epoch)
    version = max(known + 1, end)
    return RecordedTransition(user_id, version, online=False, last_seen=end)
