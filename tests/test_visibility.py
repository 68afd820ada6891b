"""What viewers are shown: the stored form against one status per viewer, kept by hand.

The model below changes the status of each viewer at each step, as DESIGN says it. The
code stores much less: one frozen status for all friends, one for all others, and a few
for single viewers. Over any history both must say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import UserStatus
from models.visibility import (
    Clock,
    Frozen,
    FrozenByGroup,
    PresenceSettings,
    View,
    VisibilityEffectsRule,
    Visible,
    can_see,
    shown,
)

VIEWERS = ("ann", "bob", "cid", "dan")
TTL = 1_000


@dataclass
class Stored:
    """What the database keeps about one user."""

    settings: PresenceSettings = field(default_factory=PresenceSettings)
    friends: set[str] = field(default_factory=lambda: {"ann", "bob"})
    by_group: FrozenByGroup = field(default_factory=FrozenByGroup)
    own: dict[str, Frozen] = field(default_factory=dict)

    def views(self) -> list[View]:
        return [
            View(
                viewer,
                "me",
                is_friend=viewer in self.friends,
                is_visible=self.sees(viewer),
                shows_last_seen=True,
                frozen_for_viewer=self.own.get(viewer),
                frozen_for_group=self.by_group.of(is_friend=viewer in self.friends),
            )
            for viewer in VIEWERS
        ]

    def sees(self, viewer: str) -> bool:
        return can_see(viewer, is_friend=viewer in self.friends, settings=self.settings)


class World:
    """One user, the viewers, the time, and both forms of what is shown."""

    def __init__(self, kept_since: int) -> None:
        self.now = 1_000_000
        self.epoch = 0
        self.kept_since = kept_since
        self.real = UserStatus("me", online=False, updated_at=0, last_seen=None)
        self.sequence = 0
        self.stored = Stored()
        self.model = dict.fromkeys(VIEWERS, self.real)
        # The user became visible then: an older heartbeat was sent while hidden.
        self.since = dict.fromkeys(VIEWERS, 0)

    def number(self) -> int:
        self.sequence = max(self.sequence + 1, self.now)
        return self.sequence

    def clock(self) -> Clock:
        return Clock(self.now, self.epoch, TTL)

    def toggle(self) -> None:
        """The user comes or goes."""
        self.real = UserStatus(
            "me",
            online=not self.real.online,
            updated_at=self.number(),
            last_seen=self.now,
        )
        self.show()

    def show(self) -> None:
        """All who see the user are shown the real status."""
        for viewer in VIEWERS:
            if self.stored.sees(viewer):
                seen = max(self.real.last_seen or 0, self.since[viewer])
                self.model[viewer] = self.real._replace(last_seen=seen)

    def wait(self, ms: int) -> None:
        self.now += ms
        self.age()

    def age(self) -> None:
        """An offline status expires, real or not. The database keeps `last_seen`."""
        self.real = self.aged(self.real)
        self.model = {viewer: self.aged(one) for viewer, one in self.model.items()}

    def aged(self, status: UserStatus) -> UserStatus:
        if status.online or (
            status.updated_at + TTL >= self.now and status.updated_at >= self.epoch
        ):
            return status
        seen = status.last_seen
        if seen is None or seen < self.kept_since:
            return UserStatus("me", online=False, updated_at=self.epoch, last_seen=None)
        version = status.stored_version or status.updated_at
        return UserStatus(
            "me",
            online=False,
            updated_at=self.epoch,
            last_seen=seen,
            stored_version=version,
        )

    def lose(self) -> None:
        """Redis loses its state. The user is registered again if online."""
        self.now += 1
        self.epoch = self.now
        if self.real.online:
            self.real = replace_status(self.real, self.number(), self.now)
            self.show()
        self.age()

    def change(self, new: PresenceSettings, friends: set[str]) -> None:
        """Settings or friendships change."""
        old, before = self.stored.settings, self.stored.views()
        self.stored.settings, self.stored.friends = new, friends
        number = self.number()
        change = VisibilityEffectsRule(
            self.real, self.clock(), self.kept_since, number
        ).effects(before, self.stored.views(), old, new, self.stored.by_group)
        self.stored.by_group = change.by_group
        self.stored.own.update(change.for_viewers)
        for viewer in change.unneeded:
            self.stored.own.pop(viewer, None)
        told: dict[str, str] = {}
        for view in before:
            is_visible, saw = self.stored.sees(view.viewer), self.model[view.viewer]
            if view.is_visible and not is_visible and saw.online:
                told[view.viewer] = "offline"
                self.model[view.viewer] = UserStatus(
                    "me", online=False, updated_at=number, last_seen=self.now
                )
            if not view.is_visible and is_visible:
                self.since[view.viewer] = number
            if not view.is_visible and is_visible and self.real.online:
                told[view.viewer] = "online"
                self.model[view.viewer] = replace_status(self.real, number, number)
        assert told == {
            **dict.fromkeys(change.online_to, "online"),
            **dict.fromkeys(change.offline_to, "offline"),
        }

    def check(self) -> None:
        for view in self.stored.views():
            found = shown(
                self.real,
                view.frozen,
                self.clock(),
                self.kept_since,
                is_visible=view.is_visible,
            )
            found = found._replace(visible_since=0)  # see tests/test_detail.py
            found, wanted = (
                one._replace(stored_version=0)
                for one in (found, self.model[view.viewer])
            )
            assert found == wanted, view


def replace_status(
    status: UserStatus, updated_at: int, last_seen: int | None
) -> UserStatus:
    return status._replace(updated_at=updated_at, last_seen=last_seen)


ids = st.frozensets(st.sampled_from(VIEWERS))
choices = st.builds(
    lambda visibility, always, never: PresenceSettings(
        visibility, always=always - never, never=never
    ),
    st.sampled_from(Visible),
    ids,
    ids,
)
steps = st.one_of(
    st.just(("toggle", None)),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 300, TTL + 1])),
    st.just(("lose", None)),
    st.tuples(st.just("settings"), choices),
    st.tuples(st.just("visibility"), st.sampled_from(Visible)),
    st.tuples(st.just("friends"), ids),
)


# The database may be there from the beginning, or be migrated in the middle: far from
# all times that a history can reach.
@given(st.lists(steps, max_size=25), st.sampled_from([0, 1_000_450]))
@settings(max_examples=400)
def test_the_stored_form_says_what_each_viewer_was_shown(history, kept_since):
    world = World(kept_since)
    for name, value in history:
        now = world.stored
        if name == "settings":
            world.change(value, now.friends)
        elif name == "visibility":
            world.change(replace(now.settings, visibility=value), now.friends)
        elif name == "friends":
            world.change(now.settings, set(value))
        elif value is None:
            getattr(world, name)()
        else:
            world.wait(value)
        world.check()
