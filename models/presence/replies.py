"""Turns parts of replies from Redis into our own values. Another program may have
written what is read here."""

from __future__ import annotations

from models.events import MAX_TIMESTAMP, NEVER_IDLE, Activity, UserStatus

_MAX_DIGITS = len(str(MAX_TIMESTAMP))


def user_status(
    user_id: str,
    online: int,
    updated_at: str | None,
    last_seen: str | None,
    idle_since: str | None,
    active_since: str | None,
) -> UserStatus:
    """A status as real_status in status.lua returns it."""
    activity = NEVER_IDLE
    if online and (idle_since or active_since):
        activity = Activity(time_of(idle_since), time_of(active_since))
    return UserStatus(
        user_id, bool(online), time_of(updated_at) or 0, time_of(last_seen), activity
    )


def time_of(text: str | None) -> int | None:
    """The milliseconds in `text`. None if it is not a time, because another program has
    written it."""
    if text is None or not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None
    return int(text)
