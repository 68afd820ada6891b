"""An explanation as text for an operator's terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from models.detail import Layer
from models.explain import Explanation, Seen
from models.presence.inspection import HeldConnection


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """The lines of the text. Times are in UTC."""
    found = explanation.inspection
    yield f"{explanation.user_id} is {found.status.status} ({_time(explanation.now)})"
    yield f"connections: {len(found.connections)}"
    for connection in found.connections:
        yield f"  {_connection(connection)}"
    yield f"transitions: {len(found.transitions)}"
    for one in found.transitions:
        waiting = ", waits in the outbox" if one.waiting else ""
        yield f"  {_time(one.timestamp)} {one.status}{waiting}"
    yield "detail:" if explanation.detail else "detail: not shown, the user is offline"
    for name, layer in explanation.by_name.items():
        yield f"  {name}: {_layer(layer)}"
    if explanation.viewer:
        yield from _viewer(explanation.viewer)


def _connection(one: HeldConnection) -> str:
    parts = [one.gateway, "idle" if one.idle else "active"]
    if one.opened_at is not None:
        parts.append(f"opened {_time(one.opened_at)}")
    if one.last_heartbeat is not None:
        parts.append(f"last heartbeat {_time(one.last_heartbeat)}")
    until = "closed, in grace until" if one.in_grace else "deadline"
    return ", ".join([*parts, f"{until} {_time(one.deadline)}"])


def _layer(layer: Layer | None) -> str:
    if layer is None:
        return "nothing"
    parts = [text for text in (layer.availability, layer.text, layer.emoji) if text]
    if layer.since:
        parts.append(f"since {_time(layer.since)}")
    if layer.expires_at is not None:
        parts.append(f"until {_time(layer.expires_at)}")
    return ", ".join(parts)


def _viewer(seen: Seen) -> Iterator[str]:
    sees = seen.status or "nothing"
    yield f"{seen.viewer} sees: {sees}, because {seen.rule}"
    if seen.last_seen_rule:
        time = "none" if seen.last_seen is None else _time(seen.last_seen)
        yield f"  last_seen: {time} ({seen.last_seen_rule})"


def _time(ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError):  # another program has written the time
        return f"{ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d} UTC"
