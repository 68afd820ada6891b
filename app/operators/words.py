"""Times and reasons in words, for the operators' page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from models.detail import Layer
from models.explain import Explanation
from models.presence.inspection import HeldConnection

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_LAYERS = {
    "manual": "The user has set",
    "host": "The application has set",
    "found_out": "The clients report",
}


def duration_text(ms: float) -> str:
    """A length of time: `12 s`, `3 min`, `2 h`."""
    seconds = max(0.0, ms / 1000)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004


def utc_text(ms: int) -> str:
    """A moment in UTC."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError):  # another program has written the time
        return f"{ms} ms"


def reasons(found: Explanation) -> Iterator[str]:
    """Why the user has this status, a sentence each."""
    inspection, now = found.inspection, found.now
    status, held = inspection.status, inspection.connections
    live = [one for one in held if one.deadline > now]
    user_id = found.user_id
    if status.online and live:
        count = f"{len(live)} connection{'' if len(live) == 1 else 's'}"
        are = "is open or in its" if len(live) == 1 else "are open or in their"
        yield f"{user_id} is online, because {count} {are} grace."
    elif status.online:
        yield (
            f"{user_id} is online in Redis, but no connection is open or in its grace. "
            "The next sweep makes the user offline."
        )
    else:
        yield f"{user_id} is offline, because no connection is open or in its grace."
    for one in live:
        yield connection_text(one, now)
    for transition in inspection.transitions:
        ago = duration_text(now - transition.timestamp)
        if transition.waiting:
            yield (
                f"The change to {transition.status} {ago} ago waits in the outbox. "
                "Others may not have been told yet."
            )
        else:
            yield f"The last change was to {transition.status}, {ago} ago."
    if status.online:
        yield from _detail(found)


def connection_text(one: HeldConnection, now: int) -> str:
    """Sentences about a connection. Times that are not known are left out."""
    left = duration_text(one.deadline - now)
    if one.in_grace:
        return (
            f"A connection to gateway {one.gateway} is closed. Its grace lasts for "
            f"another {left}, because its client may come back."
        )
    parts = [f"A connection to gateway {one.gateway} is open."]
    if one.opened_at is not None:
        opened = duration_text(now - one.opened_at)
        parts = [f"A connection to gateway {one.gateway} was opened {opened} ago."]
    if one.last_heartbeat is not None:
        beat = duration_text(now - one.last_heartbeat)
        parts.append(f"Its last heartbeat came {beat} ago.")
    parts.append(f"Without a new heartbeat it ends in {left}.")
    if one.idle:
        parts.append("Its client says that nobody is there.")
    return " ".join(parts)


def _detail(found: Explanation) -> Iterator[str]:
    """What is shown beside the status, and where it comes from."""
    if found.detail is None:
        return
    yield f"The availability that is shown is {found.detail.availability}."
    for name, layer in found.by_name.items():
        if layer is not None:
            yield f"{_LAYERS[name]}: {_layer(layer, found.now)}."


def _layer(layer: Layer, now: int) -> str:
    parts = [text for text in (layer.availability, layer.text, layer.emoji) if text]
    if layer.expires_at is not None:
        parts.append(f"for another {duration_text(layer.expires_at - now)}")
    return ", ".join(parts)
