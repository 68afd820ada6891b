"""What is shown beside a user's status: availability, text and emoji. Plain Python.

There are three layers. Each field comes from the first layer that has it:

1. what the user has set (manual),
2. what the host application has set (host),
3. what is found out: `away` if the user is idle, and `active` otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

from models.events import Availability, Detail, UserStatus


class Layer(NamedTuple):
    """What the user or the host has set. A field that is None is not set.

    `since` is when the availability was set, and `expires_at` when the whole layer
    ends. Both are ms.
    """

    availability: Availability | None = None
    text: str | None = None
    emoji: str | None = None
    since: int = 0
    expires_at: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set."""
        return self.availability is None and self.text is None and self.emoji is None

    def at(self, now: int) -> Layer:
        """The layer at the time `now` (ms): empty if it has ended."""
        has_ended = self.expires_at is not None and self.expires_at <= now
        return NOTHING_SET if has_ended else self


NOTHING_SET = Layer()


class Layers(NamedTuple):
    """The two layers of one user that are stored."""

    manual: Layer = NOTHING_SET
    host: Layer = NOTHING_SET

    def at(self, now: int) -> Layers:
        """The layers at the time `now` (ms)."""
        return Layers(self.manual.at(now), self.host.at(now))


NO_LAYERS = Layers()


def shows_activity(layers: Layers, now: int) -> bool:
    """Whether the availability depends on activity alone: no layer sets it."""
    return set_availability(layers, now) is None


def set_availability(layers: Layers, now: int) -> Availability | None:
    """The availability that a layer sets at the time `now` (ms)."""
    found = (layer.availability for layer in layers.at(now))
    return next((one for one in found if one is not None), None)


def found_out(status: UserStatus) -> Layer:
    """The third layer of a user who is online."""
    idle_since, active_since = status.activity
    return Layer(
        Availability.ACTIVE if idle_since is None else Availability.AWAY,
        since=idle_since or active_since or status.updated_at,
    )


def detail_of(status: UserStatus, layers: Layers, now: int) -> Detail | None:
    """What is shown beside `status` at the time `now` (ms). None for an offline user.

    `since` is never before the moment at which the user became visible to the viewer.
    What happened earlier stays hidden.
    """
    if not status.online:
        return None
    top_down = (*layers.at(now), found_out(status))
    availability = next(one for one in top_down if one.availability is not None)
    text = next((one for one in top_down if one.text is not None), NOTHING_SET)
    emoji = next((one for one in top_down if one.emoji is not None), NOTHING_SET)
    ends = [
        one.expires_at
        for one in (availability, text, emoji)
        if one.expires_at is not None
    ]
    return Detail(
        availability.availability or Availability.ACTIVE,
        text.text,
        emoji.emoji,
        min(ends, default=None),
        max(availability.since, status.visible_since),
    )
