"""Turns parts of replies from Redis into our own values. Another program may have
written what is read here."""

from __future__ import annotations

from models.events import MAX_TIMESTAMP, Activity, UserStatus

_MAX_DIGITS = len(str(MAX_TIMESTAMP))


def user_status(
    user_id: str, online: int, updated_at: str | None, last_seen: str | None
) -> UserStatus:
    """A status without activity. The values are the first three that `real_status` in
    status.lua returns."""
    return UserStatus(
        user_id, bool(online), time_of(updated_at) or 0, time_of(last_seen)
    )


def with_activity(
    status: UserStatus, idle_since: str | None, active_since: str | None
) -> UserStatus:
    """`status` with the other two values that `real_status` returns."""
    if not status.online or not (idle_since or active_since):
        return status
    activity = Activity(time_of(idle_since), time_of(active_since))
    return status._replace(activity=activity)


def full_status(
    user_id: str,
    online: int,
    updated_at: str | None,
    last_seen: str | None,
    idle_since: str | None,
    active_since: str | None,
) -> UserStatus:
    """A status with its activity: all five values that `real_status` returns."""
    status = user_status(user_id, online, updated_at, last_seen)
    return with_activity(status, idle_since, active_since)


def time_of(text: str | None) -> int | None:
    """The milliseconds in `text`. None if it is not a time, because another program has
    written it."""
    if text is None or not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None
    return int(text)
