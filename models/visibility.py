"""Who may see whom: the settings of a user, and what a viewer is shown. Plain Python.

A viewer may be allowed to see a user's presence, or not. In the second case the user is
*hidden* from this viewer, and must look like a user who is offline. So the viewer is
shown a *frozen* status: that of the moment of hiding. `shown` is the only place that
decides what a viewer is shown.

`can_see` here is the rule for readers and for tests. The rule that the server uses is
the same one in SQL (`models.sql.visibility`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from models.detail import NO_LAYERS, Layers
from models.events import UserStatus


class Visible(StrEnum):
    """Which of the relevant users may see something."""

    EVERYONE = "everyone"
    FRIENDS = "friends"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class PresenceSettings:
    """A user's choice: which relevant users may see what. The viewers in `always` and
    in `never` are exceptions to `visibility`."""

    visibility: Visible = Visible.EVERYONE
    last_seen: Visible = Visible.EVERYONE
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    layers: Layers = NO_LAYERS
    """What the user and the host have set to be shown beside the status."""

    @property
    def rule(self) -> tuple[Visible, frozenset[str], frozenset[str]]:
        """What decides who sees that the user is online."""
        return self.visibility, self.always, self.never

    @property
    def is_private(self) -> bool:
        """Whether a relevant viewer may be shown less than everything."""
        shows_all = self.visibility is self.last_seen is Visible.EVERYONE
        return not shows_all or bool(self.never)

    @property
    def makes_invisible(self) -> bool:
        """Whether these settings hide the user from everybody or from named users. That
        needs `PRESENCE_ALLOW_INVISIBLE`."""
        return self.visibility is Visible.NOBODY or bool(self.never)


class Frozen(NamedTuple):
    """The offline status that a viewer is shown instead of the real one. Times are ms.

    `visible_since` is None while the user is hidden. When the user becomes visible
    again, it becomes the timestamp of that moment. What happened before stays hidden.
    """

    timestamp: int
    last_seen: int | None
    visible_since: int | None = None


NEVER_SEEN = Frozen(0, None)
"""Shown if no status was frozen for a viewer."""


def can_see(viewer: str, *, is_friend: bool, settings: PresenceSettings) -> bool:
    """Whether `viewer`, who is relevant to the user, may see the user's presence."""
    if viewer in settings.never:
        return False
    return viewer in settings.always or _admits(
        settings.visibility, is_friend=is_friend
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """What `shown` must know about the shard of a user. All three are ms. `now` is its
    time. `epoch` is when it last lost its state (0: never). `offline_ttl` is how long
    it keeps the status of an offline user."""

    now: int
    epoch: int
    offline_ttl: int


def shown(
    real: UserStatus,
    frozen: Frozen | None,
    clock: Clock,
    kept_since: int,
    *,
    is_visible: bool,
) -> UserStatus:
    """The status of a user, as one viewer is shown it. `frozen` is what is stored for
    this viewer, or None. `real` has the `last_seen` from the database if Redis has
    none, and the database has those since `kept_since` (ms).

    A frozen status behaves like the status of an offline user: it expires, and it is
    lost when Redis loses its state. Then `last_seen` is what the database has.
    """
    if is_visible:
        if frozen is None or frozen.visible_since is None:
            return real
        since = frozen.visible_since
        if real.online or _last_transition(real) > since:
            # A `last_seen` from before `visible_since` would reveal when the hidden
            # user was there.
            seen = real.last_seen and max(real.last_seen, since)
            newest = max(real.updated_at, since) if real.online else real.updated_at
            return real._replace(updated_at=newest, last_seen=seen, visible_since=since)
    timestamp, last_seen, _ = frozen or NEVER_SEEN
    if timestamp < clock.epoch or timestamp + clock.offline_ttl < clock.now:
        timestamp = clock.epoch
        if last_seen is not None and last_seen < kept_since:
            last_seen = None
    return UserStatus(real.user_id, False, timestamp, last_seen)  # noqa: FBT003


def _last_transition(offline: UserStatus) -> int:
    """When the user really went offline (ms), or 0 if nothing is known of it. Without a
    `last_seen` in Redis, `updated_at` is not the time of a transition."""
    if offline.last_seen is None:
        return 0
    return offline.stored_version or offline.updated_at


class FrozenByGroup(NamedTuple):
    """What viewers who have no `Frozen` of their own are shown: one for all friends,
    and one for all others."""

    friends: Frozen | None = None
    others: Frozen | None = None

    def of(self, *, is_friend: bool) -> Frozen | None:
        """The one for a viewer who is a friend, or is not."""
        return self.friends if is_friend else self.others


@dataclass(frozen=True, slots=True)
class View:
    """How one viewer sees one user who has settings, as the database knows it."""

    viewer: str
    user_id: str
    is_friend: bool
    is_visible: bool
    """The user is visible to the viewer."""
    shows_last_seen: bool
    """The user's setting shows `last_seen` to the viewer. The viewer's own setting may
    still forbid it."""
    frozen_for_viewer: Frozen | None
    """What is stored for this viewer alone."""
    frozen_for_group: Frozen | None
    """What is stored for all friends, or for all others."""
    is_relevant: bool = True
    """If False, the view says what would count if the two shared a conversation. It is
    kept up to date, because they may become relevant to each other again."""

    @property
    def frozen(self) -> Frozen | None:
        """The frozen status that counts for this viewer."""
        return self.frozen_for_viewer or self.frozen_for_group


@dataclass(frozen=True, slots=True)
class VisibilityEffects:
    """What follows from a change of one user's visibility. The viewers in `online_to`
    and `offline_to` get events. The rest must be stored."""

    online_to: frozenset[str]
    offline_to: frozenset[str]
    by_group: FrozenByGroup
    for_viewers: dict[str, Frozen]
    """Rows of `frozen_statuses` to write, by viewer."""
    unneeded: frozenset[str]
    """Viewers whose rows of `frozen_statuses` must be deleted."""


class VisibilityEffectsRule:
    """Computes `VisibilityEffects` for one user.

    `real` is the user's present status, read at the time of `clock`; for it and
    `kept_since` see `shown`. `timestamp` is the next number of the user's sequence. The
    events will have this timestamp.

    `is_unsure`: the user came online or went offline while the change was made. The
    viewers may have got that event, or not. So they get the status once more.
    """

    def __init__(
        self,
        real: UserStatus,
        clock: Clock,
        kept_since: int,
        timestamp: int,
        *,
        is_unsure: bool = False,
    ) -> None:
        self._real = real
        self._clock = clock
        self._kept_since = kept_since
        self._timestamp = timestamp
        self._is_unsure = is_unsure

    def effects(
        self,
        before: Iterable[View],
        after: Iterable[View],
        old: PresenceSettings,
        new: PresenceSettings,
        by_group: FrozenByGroup,
    ) -> VisibilityEffects:
        """The change from the views `before` to the views `after`. Its cause is a
        change of settings from `old` to `new`, or a change of friendships.

        A viewer who is in only one of `before` and `after` is left out. A viewer who is
        not relevant in both gets no event.
        """
        new_by_group = FrozenByGroup(
            *(
                self._refrozen(
                    kept,
                    was_visible=_admits(old.visibility, is_friend=is_friend),
                    is_visible=_admits(new.visibility, is_friend=is_friend),
                )
                for kept, is_friend in zip(by_group, (True, False), strict=True)
            )
        )
        was = {view.viewer: view for view in before}
        online_to, offline_to, for_viewers, unneeded = set(), set(), {}, set()
        for view in after:
            old_view = was.get(view.viewer)
            if old_view is None:
                continue
            frozen = self._refrozen(
                old_view.frozen,
                was_visible=old_view.is_visible,
                is_visible=view.is_visible,
            )
            if frozen == new_by_group.of(is_friend=view.is_friend):
                unneeded.add(view.viewer)
            else:
                for_viewers[view.viewer] = frozen or NEVER_SEEN
            if not _changes_what_is_seen(old_view, view):
                continue
            if view.is_visible and self._real.online:
                online_to.add(view.viewer)
            elif self._saw_online(old_view.frozen, is_visible=old_view.is_visible):
                offline_to.add(view.viewer)
        return VisibilityEffects(
            frozenset(online_to),
            frozenset(offline_to),
            new_by_group,
            for_viewers,
            frozenset(unneeded),
        )

    def _refrozen(
        self, frozen: Frozen | None, *, was_visible: bool, is_visible: bool
    ) -> Frozen | None:
        if was_visible == is_visible:
            return frozen
        visible_since = self._timestamp if is_visible else None
        if self._saw_online(frozen, is_visible=was_visible):
            return Frozen(self._timestamp, self._clock.now, visible_since)
        saw = self._shown(frozen, is_visible=was_visible)
        return Frozen(saw.updated_at, saw.last_seen, visible_since)

    def _saw_online(self, frozen: Frozen | None, *, is_visible: bool) -> bool:
        """Whether the viewers may believe that the user is online."""
        return self._is_unsure or self._shown(frozen, is_visible=is_visible).online

    def _shown(self, frozen: Frozen | None, *, is_visible: bool) -> UserStatus:
        return shown(
            self._real, frozen, self._clock, self._kept_since, is_visible=is_visible
        )


def changed_viewers(before: Iterable[View], after: Iterable[View]) -> set[str]:
    """Viewers who see the user in one of `before` and `after`, and not in the other.
    Only viewers who are relevant in both."""
    was = {view.viewer: view for view in before}
    return {
        view.viewer
        for view in after
        if view.viewer in was and _changes_what_is_seen(was[view.viewer], view)
    }


def _changes_what_is_seen(before: View, after: View) -> bool:
    return (
        before.is_visible != after.is_visible
        and before.is_relevant
        and after.is_relevant
    )


def _admits(visibility: Visible, *, is_friend: bool) -> bool:
    """Whether friends (or all others) see the user, apart from the exceptions."""
    return visibility is Visible.EVERYONE or (
        visibility is Visible.FRIENDS and is_friend
    )
