"""What viewers are shown: the real statuses from Redis, and who may see whom from SQL.

Snapshots, introductions and REST all read statuses from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy import Engine

from models.detail import NO_LAYERS, Layers, detail_of
from models.events import Detail, UserStatus
from models.presence.presence import Statuses
from models.sql.audience import friends_of
from models.sql.last_seen import kept_since, stored_last_seen
from models.sql.statements import Reader
from models.sql.visibility import Views, views_of_viewers
from models.visibility import Visible, shown


def with_last_seen(reader: Reader, statuses: Iterable[UserStatus]) -> list[UserStatus]:
    """`statuses`, with the `last_seen` from the database where Redis has none."""
    read = list(statuses)
    lacking = [one.user_id for one in read if one.last_seen is None]
    stored = stored_last_seen(reader, lacking)
    return [
        one
        if (kept := stored.get(one.user_id)) is None
        else one._replace(last_seen=kept.last_seen, stored_version=kept.version)
        for one in read
    ]


def add_last_seen(
    database: Engine, statuses: Statuses, rules: Rules | None = None
) -> None:
    """If Redis has no `last_seen` for some users in `statuses`, give them the one from
    the database. Without such users this costs nothing.

    If viewers are to be shown the statuses by `rules`, and one of the users has
    settings, the query is made in any case. Otherwise the time that it takes could tell
    a viewer whether a hidden user is online.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    lacking = [one for one in statuses.found.values() if one.last_seen is None]
    if lacking or (rules and rules.views.of):
        with database.connect() as reader:
            found = with_last_seen(reader, lacking)
        statuses.found.update((one.user_id, one) for one in found)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may see whom, for some viewers. Read it before the statuses: a change in
    between is then announced after the statuses were read."""

    views: Views
    friends: Mapping[str, set[str]]
    """The friends of viewers who show their own `last_seen` to friends only."""
    kept_since: int = 0
    """Since when the database has every `last_seen` (ms). Only known if a viewer sees a
    user with settings."""

    @classmethod
    def read(cls, reader: Reader, viewers: Iterable[str], *, may_hide: bool) -> Rules:
        """Read the rules for `viewers`. Without `may_hide` no user is invisible."""
        views = views_of_viewers(reader, viewers, may_hide=may_hide)
        asked = [
            viewer
            for viewer, last_seen in views.last_seen.items()
            if last_seen is Visible.FRIENDS
        ]
        since = kept_since(reader) if views.of else 0
        return cls(views, friends_of(reader, asked), since)

    @property
    def viewers(self) -> AbstractSet[str]:
        """Viewers who may be shown something else than the real statuses."""
        return self.views.of.keys() | self.views.last_seen.keys()

    def hides_last_seen(self, viewer: str, user_id: str) -> str | None:
        """Whose setting hides the `last_seen` of `user_id` from `viewer`: `you` (the
        viewer's), `them`, or None."""
        view = self.views.of.get(viewer, {}).get(user_id)
        if view is not None and not view.shows_last_seen:
            return "them"
        own = self.views.last_seen.get(viewer, Visible.EVERYONE)
        if own is Visible.EVERYONE or (
            own is Visible.FRIENDS and user_id in self.friends[viewer]
        ):
            return None
        return "you"


class ShownStatuses:
    """The statuses of users, as each viewer is shown them."""

    def __init__(
        self,
        rules: Rules,
        statuses: Statuses,
        layers: Mapping[str, Layers] | None = None,
    ) -> None:
        self._rules = rules
        self._statuses = statuses
        self._layers = layers or {}

    def known(self, viewer: str, user_id: str) -> UserStatus:
        """The status of `user_id` for `viewer`, before `last_seen` is hidden. Its
        `updated_at` is the timestamp of the last event about this user for `viewer`.

        Raises:
            KeyError: the shard of `user_id` did not answer.
        """
        real = self._statuses.found[user_id]
        view = self._rules.views.of.get(viewer, {}).get(user_id)
        if view is None:
            return real
        clock = self._statuses.clock_of(user_id)
        since = self._rules.kept_since
        return shown(real, view.frozen, clock, since, is_visible=view.is_visible)

    def shown(self, viewer: str, user_id: str) -> UserStatus:
        """The status of `user_id` to send to `viewer`."""
        return self.to_send(viewer, self.known(viewer, user_id))

    def to_send(self, viewer: str, known: UserStatus) -> UserStatus:
        """The status `known` without a `last_seen` that must not be shown.

        If `last_seen` is hidden, the `updated_at` of an offline user must not reveal
        it. So `updated_at` becomes the time just before the read. Any later event is
        newer than that.
        """
        if self._rules.hides_last_seen(viewer, known.user_id) is None:
            return known
        if known.online:
            return known._replace(last_seen=None)
        now = self._statuses.clock_of(known.user_id).now
        return known._replace(last_seen=None, updated_at=now - 1)

    def detail(self, shown: UserStatus) -> Detail | None:
        """The detail to send beside the status `shown`."""
        user_id = shown.user_id
        now = self._statuses.clock_of(user_id).now
        return detail_of(shown, self._layers.get(user_id, NO_LAYERS), now)

    def by_status(
        self, user_id: str, viewers: AbstractSet[str]
    ) -> dict[UserStatus, list[str]]:
        """Each status of `user_id` that some of `viewers` are shown, and these
        viewers."""
        with_rules = viewers & self._rules.viewers
        found: dict[UserStatus, list[str]] = {}
        if others := viewers - with_rules:
            found[self._statuses.found[user_id]] = list(others)
        for viewer in with_rules:
            found.setdefault(self.shown(viewer, user_id), []).append(viewer)
        return found
