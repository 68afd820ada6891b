"""Changes of presence settings: stored in SQL, and told to the viewers through the
outbox.

A user becomes hidden from some viewers, or visible to them, when settings or
friendships change. The steps are:

1. `start_visibility_change` takes the next number of the user's sequence, and reads the
   real status.
2. One transaction changes the rule, and stores what the viewers are shown from now on
   (`models.visibility.VisibilityEffectsRule`).
3. `publish_visibility_change` puts the events into the outbox, after the commit. The
   drainer asks SQL for each audience, so entries after this one use the new rule.

An entry before this one may use the old rule, but its number is smaller. If the user
had a transition between the steps, `publish_visibility_change` refuses, and all steps
are repeated with a new number. If the process dies after the commit,
`tasks.announcements` sends the viewers fresh snapshots.

A change of detail is stored in the same transaction. After the commit
`record_detail_change` puts it into the outbox, with a number of its own. The drainer
reads the detail from SQL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from models.detail import detail_of
from models.events import UserStatus
from models.presence import Presence, PresenceUnavailable
from models.presence.presence import ChangeStart
from models.shown_statuses import with_last_seen
from models.sql import pending_announcements
from models.sql.graph_rows import lock_users
from models.sql.last_seen import kept_since
from models.sql.presence_settings import (
    StoredSettings,
    ensure_settings,
    put_frozen,
    put_settings,
    read_settings,
    remove_frozen,
)
from models.sql.visibility import views_of_user
from models.visibility import (
    FrozenByGroup,
    PresenceSettings,
    View,
    VisibilityEffects,
    VisibilityEffectsRule,
    Visible,
    changed_viewers,
)

log = logging.getLogger(__name__)

NOT_TOLD = "viewers of %s are told of a change of settings later: %s"
MAX_ATTEMPTS = 10
"""After this many attempts, give up and send fresh snapshots. An attempt fails if the
user has a transition between its steps."""


@dataclass(frozen=True, slots=True)
class Viewers:
    """The viewers of one user, before and after a change."""

    before: list[View]
    after: list[View]

    def changed(self) -> set[str]:
        """Viewers who see the user now and did not before, or the other way round."""
        return changed_viewers(self.before, self.after)


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of one user's rule: who sees what before and after, the settings, and
    what was frozen for all viewers before."""

    user_id: str
    viewers: Viewers
    old: PresenceSettings
    new: PresenceSettings
    by_group: FrozenByGroup


class VisibilityUpdater:
    """Changes who sees the presence of users.

    Methods raise `PresenceUnavailable` and `sqlalchemy.exc.SQLAlchemyError` only if
    nothing was changed. `request_drain` is called with the number of a shard.
    """

    def __init__(
        self,
        presence: Presence,
        sessions: sessionmaker[Session],
        request_drain: Callable[[int], object],
    ) -> None:
        self._presence = presence
        self._sessions = sessions
        self._request_drain = request_drain

    def change_settings(
        self, user_id: str, update: Callable[[PresenceSettings], PresenceSettings]
    ) -> tuple[PresenceSettings, set[str]]:
        """Call `update` with the settings of a stored user, and store what it returns.
        Viewers are told if the user is hidden from them now, or visible to them.

        Returns the new settings, and the users who need fresh snapshots, because no
        event tells them that a `last_seen` has been hidden or revealed.
        """
        start = self._presence.start_visibility_change(user_id)
        with self._sessions() as session:
            lock_users(session, [user_id])
            old = read_settings(session, user_id)
            new = update(old)
            ensure_settings(session, user_id)
            named = old.always | old.never | new.always | new.never
            before = self._views(session, user_id, named)
            put_settings(session, user_id, new)
            step = _Step(
                user_id,
                Viewers(before, self._views(session, user_id, named)),
                self._effective(old),
                self._effective(new),
                session.get_one(StoredSettings, user_id).frozen_by_group,
            )
            change = self._store(session, step, start)
            row = self._record(session, step)
            detail_row = self._record_detail(session, step, start)
            session.commit()
        self._tell(step, start, change, row)
        self._tell_detail(user_id, detail_row)
        if old.last_seen is new.last_seen:
            return new, set()
        relevant = (view for view in step.viewers.after if view.is_relevant)
        return new, {view.viewer for view in relevant} | {user_id}

    def store_graph_change(
        self, session: Session, user_id: str, viewers: Viewers
    ) -> Callable[[], None]:
        """Friendships of `user_id` have changed in `session`, so that the user is now
        hidden from some viewers, or visible to them. Store what they are shown. The
        caller has locked the user, commits, and then calls the result, which tells
        them."""
        stored = session.get(StoredSettings, user_id)
        if stored is None:  # the user was deleted
            return lambda: None
        start = self._presence.start_visibility_change(user_id)
        same = self._effective(read_settings(session, user_id))
        step = _Step(user_id, viewers, same, same, stored.frozen_by_group)
        change = self._store(session, step, start)
        row = self._record(session, step)
        return lambda: self._tell(step, start, change, row)

    def _views(
        self, session: Session, user_id: str, named: Iterable[str]
    ) -> list[View]:
        return views_of_user(session, user_id, named, may_hide=self._presence.may_hide)

    def _effective(self, settings: PresenceSettings) -> PresenceSettings:
        if self._presence.may_hide or settings.visibility is not Visible.NOBODY:
            return settings
        return replace(settings, visibility=Visible.EVERYONE)

    def _store(
        self,
        session: Session,
        step: _Step,
        start: ChangeStart,
        *,
        is_unsure: bool = False,
    ) -> VisibilityEffects:
        """Compute the change, and store what the viewers are shown from now on."""
        (real,) = with_last_seen(session, [start.real])
        change = VisibilityEffectsRule(
            real,
            start.clock,
            kept_since(session),
            start.timestamp,
            is_unsure=is_unsure,
        ).effects(
            step.viewers.before, step.viewers.after, step.old, step.new, step.by_group
        )
        stored = session.get_one(StoredSettings, step.user_id)
        stored.frozen_by_group = change.by_group
        put_frozen(session, step.user_id, change.for_viewers)
        remove_frozen(session, step.user_id, change.unneeded)
        return change

    def _record(self, session: Session, step: _Step) -> str | None:
        changed = step.viewers.changed()
        return pending_announcements.record(session, changed) if changed else None

    def _record_detail(
        self, session: Session, step: _Step, start: ChangeStart
    ) -> str | None:
        """None if the detail that viewers are shown does not change."""
        before, after = (
            detail_of(
                start.real._replace(online=True), settings.layers, start.clock.now
            )
            for settings in (step.old, step.new)
        )
        # Viewers may not know yet that a layer has ended, and this call removes it.
        has_ended = step.old.layers != step.old.layers.at(start.clock.now)
        if before == after and not has_ended:
            return None
        visible_to = (one.viewer for one in step.viewers.after if one.is_visible)
        return pending_announcements.record(session, set(visible_to))

    def _tell_detail(self, user_id: str, row: str | None) -> None:
        """Tell the viewers that the detail has changed, if the user is online. If that
        is not possible now, `row` is left, and they get fresh snapshots later."""
        if row is None:
            return
        try:
            shard = self._presence.shard_of(user_id)
            if shard.store.record_detail_change(user_id):
                self._request_drain(shard.number)
            self._remove(row)
        except (PresenceUnavailable, SQLAlchemyError) as error:
            log.warning(NOT_TOLD, user_id, error)

    def _remove(self, row: str) -> None:
        with self._sessions() as session:
            pending_announcements.remove(session, [row])
            session.commit()

    def _tell(
        self,
        step: _Step,
        start: ChangeStart,
        change: VisibilityEffects,
        row: str | None,
    ) -> None:
        """Send the events to the viewers. If that is not possible now, the row `row`
        stays, and they get fresh snapshots later."""
        if row is None:
            return
        is_unsure = False
        try:
            for _ in range(MAX_ATTEMPTS):
                needs_drain = self._presence.publish_visibility_change(
                    step.user_id, start.timestamp, change.online_to, change.offline_to
                )
                if needs_drain is not None:
                    if needs_drain:
                        shard = self._presence.shard_of(step.user_id)
                        self._request_drain(shard.number)
                    self._remove(row)
                    return
                before, start = (
                    start,
                    self._presence.start_visibility_change(step.user_id),
                )
                is_unsure = is_unsure or _has_moved(before.real, start.real)
                with self._sessions() as session:
                    lock_users(session, [step.user_id])
                    stored = read_settings(session, step.user_id)
                    if self._effective(stored).rule != step.new.rule:
                        return  # another call has changed it again
                    change = self._store(session, step, start, is_unsure=is_unsure)
                    session.commit()
            log.warning(NOT_TOLD, step.user_id, "the user came or went all the time")
        except (PresenceUnavailable, SQLAlchemyError) as error:
            log.warning(NOT_TOLD, step.user_id, error)


def _has_moved(before: UserStatus, after: UserStatus) -> bool:
    """Whether the user came online or went offline in between."""
    return (before.online, before.updated_at) != (after.online, after.updated_at)
