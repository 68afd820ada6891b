"""Explains the status of one user, and what a viewer sees of it. For debugging.

`explain` reads everything, and changes nothing. `status_rule` says in words which rule
decides what a viewer sees. It follows `can_see` of `models.visibility`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from sqlalchemy.orm import Session

from models.detail import Layer, Layers, detail_of, found_out
from models.events import Detail, Status, UserStatus
from models.presence import Presence
from models.presence.inspection import Inspection
from models.presence.keys import shard_number
from models.presence.presence import Statuses
from models.shown_statuses import Rules, ShownStatuses, with_last_seen
from models.sql.friendship import FriendshipStatus
from models.sql.presence_settings import read_settings
from models.sql.relation import Relation, relation_of
from models.sql.user import unknown_users
from models.visibility import PresenceSettings, Visible


class NoSuchUser(LookupError):
    """The database does not know the user `user_id`."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        super().__init__(f"there is no user {user_id}")


class Rule(NamedTuple):
    """A decision, and the rule behind it in words."""

    allows: bool
    words: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a viewer sees of the user. `last_seen` is ms."""

    viewer: str
    status: Status | None
    """None if the viewer is told nothing about the user."""
    rule: str
    last_seen: int | None
    last_seen_rule: str | None
    """None if the viewer is told nothing about the user."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that decides what others see of a user, at the time `now` (ms)."""

    user_id: str
    now: int
    inspection: Inspection
    detail: Detail | None
    """None if the user is offline."""
    layers: Layers
    """Without layers whose time is over."""
    viewer: Seen | None

    @property
    def by_name(self) -> dict[str, Layer | None]:
        """The layers of the detail, in their order. None for one that sets nothing."""
        status = self.inspection.status
        return {
            **{
                name: None if layer.is_empty else layer
                for name, layer in self.layers._asdict().items()
            },
            "found_out": found_out(status) if status.online else None,
        }

    def data(self) -> dict[str, object]:
        """The explanation as the host gets it."""
        detail = self.detail._asdict() if self.detail else dict.fromkeys(Detail._fields)
        layers = {
            name: layer and layer._asdict() for name, layer in self.by_name.items()
        }
        return {
            "status": self.inspection.status.status,
            "connections": [asdict(one) for one in self.inspection.connections],
            "transitions": [asdict(one) for one in self.inspection.transitions],
            "detail": {**detail, "layers": layers},
            "viewer": self.viewer and asdict(self.viewer),
        }


def explain(
    session: Session, presence: Presence, user_id: str, viewer: str | None = None
) -> Explanation:
    """Explain the status of `user_id`, and what `viewer` sees of it.

    Raises:
        NoSuchUser: the database does not know one of the two.
        PresenceUnavailable: the shard of the user did not answer.
    """
    asked = [user_id] if viewer is None else [user_id, viewer]
    unknown = unknown_users(session, asked)
    for one in asked:
        if one in unknown:
            raise NoSuchUser(one)
    settings = read_settings(session, user_id)
    seen = None
    if viewer is None or viewer == user_id:
        inspection = _inspect(session, presence, user_id)
        if viewer is not None:
            seen = _seen_by_oneself(inspection.status)
    else:
        may_hide = presence.may_hide
        relation = relation_of(session, user_id, viewer)
        rules = Rules.read(session, [viewer], may_hide=may_hide)
        own = rules.views.last_seen.get(viewer, Visible.EVERYONE)
        inspection = _inspect(session, presence, user_id)
        pair = Pair(user_id, viewer, relation, settings, own, may_hide=may_hide)
        shards = len(presence.shards)
        clocks = {shard_number(user_id, shards): inspection.clock}
        statuses = Statuses({user_id: inspection.status}, clocks, shards)
        seen = _seen(pair, ShownStatuses(rules, statuses).shown(viewer, user_id))
    now = inspection.clock.now
    return Explanation(
        user_id,
        now,
        inspection,
        detail_of(inspection.status, settings.layers, now),
        settings.layers.at(now),
        seen,
    )


def _inspect(session: Session, presence: Presence, user_id: str) -> Inspection:
    inspection = presence.inspect(user_id)
    (status,) = with_last_seen(session, [inspection.status])
    return replace(inspection, status=status)


@dataclass(frozen=True, slots=True)
class Pair:
    """A user and a viewer, and what decides between them."""

    user_id: str
    viewer: str
    relation: Relation
    settings: PresenceSettings
    """Those of the user."""
    own_last_seen: Visible
    """The viewer's own setting."""
    may_hide: bool
    """`PRESENCE_ALLOW_INVISIBLE`."""

    @property
    def words(self) -> str:
        """How the two are related."""
        both = f"{self.user_id} and {self.viewer}"
        if self.relation.is_blocked:
            return f"{both} are blocked"
        if self.relation.is_friend:
            return f"{both} are friends"
        if self.relation.share_conversation:
            return f"{both} share a conversation, but are not friends"
        words = f"{both} are neither friends nor in a conversation"
        if self.relation.friendship is FriendshipStatus.PENDING:
            words += " (their friendship is pending)"
        return words


def status_rule(pair: Pair) -> Rule:
    """Whether the viewer sees the real status, and the rule that decides."""
    user_id, viewer, settings = pair.user_id, pair.viewer, pair.settings
    if not pair.relation.is_relevant:
        return Rule(allows=False, words=pair.words)
    if viewer in settings.never:
        if pair.may_hide:
            words = f"{user_id} has {viewer} in the list never"
            return Rule(allows=False, words=f"{pair.words}, and {words}")
    elif viewer in settings.always:
        words = f"{user_id} has {viewer} in the list always"
        return Rule(allows=True, words=f"{pair.words}, and {words}")
    return _visibility_rule(pair)


def _visibility_rule(pair: Pair) -> Rule:
    """The rule without the exceptions."""
    chosen = pair.settings.visibility
    words = f"{pair.words}, and {pair.user_id}'s visibility is {chosen}"
    if chosen is Visible.EVERYONE:
        return Rule(allows=True, words=words + _ignored(pair))
    if chosen is Visible.FRIENDS:
        words += _ignored(pair)
        return Rule(allows=pair.relation.is_friend, words=words)
    if pair.may_hide:
        return Rule(allows=False, words=f"{words}: {pair.user_id} is invisible")
    return Rule(allows=True, words=f"{words}, but this server lets nobody hide")


def _ignored(pair: Pair) -> str:
    """Words about an exception that the server ignores."""
    if pair.viewer in pair.settings.never:
        return "; the list never does not count, because this server lets nobody hide"
    return ""


def last_seen_rule(pair: Pair) -> Rule:
    """Whether a relevant viewer sees `last_seen`, and whose setting decides."""
    theirs, own = pair.settings.last_seen, pair.own_last_seen
    is_friend = pair.relation.is_friend
    for whose, chosen in ((pair.user_id, theirs), (pair.viewer, own)):
        if chosen is Visible.NOBODY or (chosen is Visible.FRIENDS and not is_friend):
            words = f"hidden by the setting of {whose}: last_seen is {chosen}"
            return Rule(allows=False, words=words)
    words = f"shown: last_seen of {pair.user_id} is {theirs}, of {pair.viewer} is {own}"
    return Rule(allows=True, words=words)


def _seen(pair: Pair, shown: UserStatus) -> Seen:
    """`shown` is the status that a relevant viewer is shown."""
    rule = status_rule(pair)
    if not pair.relation.is_relevant:
        return Seen(pair.viewer, None, rule.words, None, None)
    last_seen = last_seen_rule(pair)
    words = last_seen.words
    if last_seen.allows and not rule.allows:
        words += ", as of the moment of hiding"
    return Seen(pair.viewer, shown.status, rule.words, shown.last_seen, words)


def _seen_by_oneself(status: UserStatus) -> Seen:
    user_id, words = status.user_id, "shown: it is one's own"
    rule = f"{user_id} is the viewer"
    return Seen(user_id, status.status, rule, status.last_seen, words)
