"""Section 8 of the design, "who may see whom", as plain Python. It shares no code with
the server, so that the tests in this folder compare two independent readings of it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Self

Pair = frozenset[str]


@dataclass
class Settings:
    """What one user has chosen."""

    visibility: str = "everyone"
    last_seen: str = "everyone"
    always: set[str] = field(default_factory=set)
    never: set[str] = field(default_factory=set)


@dataclass
class World:
    """Everything that decides what a viewer is shown. `online` is the truth."""

    users: tuple[str, ...]
    friendships: dict[Pair, str] = field(default_factory=dict)
    conversations: dict[str, set[str]] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    online: set[str] = field(default_factory=set)
    may_hide: bool = True
    """`PRESENCE_ALLOW_INVISIBLE`."""

    def copy(self) -> Self:
        """A copy that later changes leave alone."""
        return deepcopy(self)

    def of(self, user: str) -> Settings:
        """The settings of `user`."""
        return self.settings.setdefault(user, Settings())

    def are_friends(self, one: str, other: str) -> bool:
        """Whether their friendship is accepted."""
        return self.friendships.get(frozenset((one, other))) == "accepted"

    def is_blocked(self, one: str, other: str) -> bool:
        """Whether one of the two has blocked the other."""
        return self.friendships.get(frozenset((one, other))) == "blocked"

    def are_partners(self, one: str, other: str) -> bool:
        """Whether they share a conversation, and no block is in the way."""
        return not self.is_blocked(one, other) and any(
            {one, other} <= members for members in self.conversations.values()
        )

    def is_relevant(self, viewer: str, subject: str) -> bool:
        """Whether the two know of each other at all."""
        return viewer != subject and (
            self.are_friends(viewer, subject) or self.are_partners(viewer, subject)
        )

    def can_see(self, viewer: str, subject: str) -> bool:
        """Whether `subject` is not hidden from `viewer`, who is relevant."""
        settings = self.of(subject)
        if viewer in settings.never and self.may_hide:
            return False
        if viewer in settings.always:
            return True
        if settings.visibility == "nobody":
            return not self.may_hide
        return settings.visibility == "everyone" or self.are_friends(viewer, subject)

    def shown(self, viewer: str, subject: str) -> str | None:
        """The status that `viewer` is shown. None if the two are not relevant."""
        if not self.is_relevant(viewer, subject):
            return None
        seen = subject in self.online and self.can_see(viewer, subject)
        return "online" if seen else "offline"

    def map_of(self, viewer: str) -> dict[str, str]:
        """The whole map of a client of `viewer`."""
        shown = {subject: self.shown(viewer, subject) for subject in self.users}
        return {subject: status for subject, status in shown.items() if status}

    def last_seen_hidden_by(self, viewer: str, subject: str) -> set[str]:
        """Whose setting hides the `last_seen` of `subject` from `viewer`: `them` (the
        setting of the subject), `you` (that of the viewer), both or neither."""
        hides = {
            "them": self.of(subject).last_seen,
            "you": self.of(viewer).last_seen,
        }
        return {
            who
            for who, choice in hides.items()
            if choice == "nobody"
            or (choice == "friends" and not self.are_friends(viewer, subject))
        }

    # What REST answers

    def friends_map(self, viewer: str) -> dict[str, bool]:
        """`GET /api/friends/online-status`."""
        return {
            user: status == "online"
            for user, status in self.map_of(viewer).items()
            if self.are_friends(viewer, user)
        }

    def partners_map(self, viewer: str) -> dict[str, bool]:
        """`GET /api/conversations/online-status`."""
        return {
            user: status == "online"
            for user, status in self.map_of(viewer).items()
            if self.are_partners(viewer, user)
        }

    def conversation_map(self, viewer: str, name: str) -> dict[str, bool] | None:
        """`GET /api/conversations/{name}/online-status`. None for an outsider."""
        members = self.conversations[name]
        if viewer not in members:
            return None
        statuses = self.map_of(viewer)
        found = {user: statuses[user] == "online" for user in members & statuses.keys()}
        return {**found, viewer: viewer in self.online}
