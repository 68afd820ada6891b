"""The charts of the operators' page, as numbers for an inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.presence.samples import Sample

WIDTH, HEIGHT = 300.0, 60.0
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

Point = tuple[int, float]
"""A time (ms) and a value."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over the last hour. The right edge is now, and the bottom is 0."""

    title: str
    newest: str
    highest: str
    line: str
    """The points of a polyline."""
    area: str
    """The points of the polygon under it."""


def charts(samples: Sequence[tuple[int, Sample]], now: int) -> list[Chart]:
    """The charts of `samples`, which have their times (ms)."""
    return [
        _chart("Online users", [(at, one.online) for at, one in samples], now),
        _chart("Connections", [(at, one.connections) for at, one in samples], now),
        _chart("Changes per minute", _per_minute(samples), now),
        _chart("Outbox", [(at, one.outbox) for at, one in samples], now),
    ]


def _per_minute(samples: Sequence[tuple[int, Sample]]) -> list[Point]:
    """How fast a counter has grown between two samples. A counter that begins anew has
    grown by what it is."""
    found = []
    for (before, old), (at, new) in pairwise(samples):
        grown = new.transitions - old.transitions
        grown = new.transitions if grown < 0 else grown
        found.append((at, grown * MINUTE_MS / max(1, at - before)))
    return found


def _chart(title: str, points: Sequence[Point], now: int) -> Chart:
    highest = max((value for _, value in points), default=0)
    placed = [
        (
            round(WIDTH * (1 - (now - at) / HOUR_MS), 1),
            round(HEIGHT * (1 - value / highest) if highest else HEIGHT, 1),
        )
        for at, value in points
        if 0 <= now - at <= HOUR_MS
    ]
    line = " ".join(f"{x:g},{y:g}" for x, y in placed)
    area = ""
    if placed:
        area = f"{placed[0][0]:g},{HEIGHT:g} {line} {placed[-1][0]:g},{HEIGHT:g}"
    newest = f"{points[-1][1]:,.0f}" if points else "none yet"
    return Chart(title, newest, f"{highest:,.0f}", line, area)
