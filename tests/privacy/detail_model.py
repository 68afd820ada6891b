"""Section 9 of the design, "more than on and off", as plain Python. It shares no code
with the server. Times are ms; the test and the server have the same clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.privacy.model import World

Layer = dict[str, Any]
EMPTY: Layer = {"availability": None, "text": None, "emoji": None, "expires_at": None}


def changed(layer: Layer, fields: Layer, now: int) -> Layer:
    """`layer` after a PATCH with `fields` at the time `now`."""
    new = {**at(layer, now), **fields}
    if new["availability"] == "active":  # nobody can be forced active
        new["availability"] = None
    return new if sets_something(new) else EMPTY


def sets_something(layer: Layer) -> bool:
    """Whether the layer has a value."""
    return any(layer[name] is not None for name in ("availability", "text", "emoji"))


def at(layer: Layer, now: int) -> Layer:
    """`layer` at the time `now`."""
    end = layer["expires_at"]
    return EMPTY if end is not None and end <= now else layer


@dataclass
class DetailWorld(World):
    """A world in which users also have layers."""

    manual: dict[str, Layer] = field(default_factory=dict)
    host: dict[str, Layer] = field(default_factory=dict)

    def layers(self, user: str, now: int) -> tuple[Layer, Layer]:
        """What is set for `user`, the highest layer first."""
        return at(self.manual.get(user, EMPTY), now), at(
            self.host.get(user, EMPTY), now
        )

    def ends_after(self, now: int) -> list[int]:
        """The times after `now` at which layers end, the latest last."""
        return sorted(
            layer["expires_at"]
            for layers in (self.manual, self.host)
            for layer in layers.values()
            if (layer["expires_at"] or 0) > now
        )

    def detail(
        self, viewer: str, subject: str, now: int, *, is_idle: bool
    ) -> Layer | None:
        """What `viewer` is shown beside the status of `subject`, but for `since`."""
        if self.shown(viewer, subject) != "online":
            return None
        layers = self.layers(subject, now)
        found: Layer = {}
        ends = []
        for name in ("availability", "text", "emoji"):
            found[name] = None
            for layer in layers:
                if layer[name] is not None:
                    found[name] = layer[name]
                    ends.append(layer["expires_at"])
                    break
        if found["availability"] is None:
            found["availability"] = "away" if is_idle else "active"
        known = [end for end in ends if end is not None]
        return {**found, "expires_at": min(known, default=None)}
