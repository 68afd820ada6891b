"""Who may see whom, in SQL. This module only reads.

`_is_visible` is the rule `can_see` of `models.visibility` as one SQL condition.
Fan-out, snapshots and REST all read it from here, for many users at once.

Every statement reads the users who have settings first. If there are none, it costs a
few lookups in an empty table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    false,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
)

from models.sql.audience import has_friendship, users_with_settings
from models.sql.conversation import participant_table
from models.sql.friendship import ACCEPTED, BLOCKED, friendship_table
from models.sql.presence_settings import (
    ALWAYS,
    NEVER,
    exception_table,
    frozen_of,
    frozen_table,
    settings_table,
)
from models.sql.sql_arrays import among, each_pair, pair_list, text_list
from models.sql.statements import Reader, Row, Statement
from models.visibility import View, Visible


@dataclass(frozen=True, slots=True)
class Views:
    """What the database knows about some viewers. `of` is viewer -> user -> view, for
    the relevant users who have settings. `last_seen` has each viewer's own setting, if
    the viewer has settings."""

    of: Mapping[str, Mapping[str, View]]
    last_seen: Mapping[str, Visible]

    def hidden_from(self, viewer: str) -> set[str]:
        """The relevant users whom `viewer` must see as offline."""
        return {
            user_id
            for user_id, view in self.of.get(viewer, {}).items()
            if not view.is_visible
        }


def views_of_viewers(
    reader: Reader, viewers: Iterable[str], *, may_hide: bool
) -> Views:
    """What the database knows about `viewers`. Without `may_hide`, settings that make a
    user invisible are ignored (`PRESENCE_ALLOW_INVISIBLE`)."""
    asked = {"ids": list(viewers), "may_hide": int(may_hide)}
    of: dict[str, dict[str, View]] = {}
    last_seen: dict[str, Visible] = {}
    for row in _OF_VIEWERS.rows(reader, asked):
        if row[-1] is None:
            view = _view(row)
            of.setdefault(view.viewer, {})[view.user_id] = view
        else:
            last_seen[row[0]] = Visible(row[-1])
    return Views(of, last_seen)


def views_of_user(
    reader: Reader, user_id: str, named: Iterable[str], *, may_hide: bool
) -> list[View]:
    """How others see `user_id`: all relevant users, the users in `named`, and viewers
    with a row in `frozen_statuses`. Empty if `user_id` has no settings."""
    asked: dict[str, object] = {"ids": [user_id], "may_hide": int(may_hide)}
    found = [_view(row) for row in _OF_USERS.rows(reader, asked)]
    viewers = {*named, *(viewer for (viewer,) in _FROZEN.rows(reader, asked))}
    viewers -= {view.viewer for view in found}
    pairs = [(viewer, user_id) for viewer in sorted(viewers)]
    return [*found, *_of_strangers(reader, pairs, may_hide=may_hide)]


def views_on(
    reader: Reader, pairs: Iterable[tuple[str, str]], *, may_hide: bool = True
) -> tuple[View, ...]:
    """How the two users of each pair see each other. Leaves out the views of a user
    without settings."""
    both = {pair for one, other in pairs for pair in ((one, other), (other, one))}
    asked = {user_id for user_id, _ in both}
    if not asked:
        return ()
    known = users_with_settings(reader, asked)
    if not known:
        return ()
    rows = _OF_USERS.rows(reader, {"ids": sorted(known), "may_hide": int(may_hide)})
    views = {(view.viewer, view.user_id): view for view in map(_view, rows)}
    strangers = [pair for pair in both - views.keys() if pair[1] in known]
    return (
        *(view for pair, view in views.items() if pair in both),
        *_of_strangers(reader, sorted(strangers), may_hide=may_hide),
    )


def _of_strangers(
    reader: Reader, pairs: Collection[tuple[str, str]], *, may_hide: bool
) -> list[View]:
    """How viewers see users, if the two are not relevant to each other. `pairs` are
    (viewer, user)."""
    if not pairs:
        return []
    rows = _OF_STRANGERS.rows(reader, {"pairs": pairs, "may_hide": int(may_hide)})
    return [replace(_view(row), is_relevant=False) for row in rows]


def viewers_of(
    reader: Reader, user_ids: Iterable[str], *, may_hide: bool
) -> dict[str, dict[str, int]]:
    """The relevant users who see the presence of each of `user_ids`, all of whom have
    settings. Each with the time (ms) since which this viewer sees the user; 0 if that
    was always so."""
    found: dict[str, dict[str, int]] = {user_id: {} for user_id in user_ids}
    asked = {"ids": list(found), "may_hide": int(may_hide)}
    for view in map(_view, _OF_USERS.rows(reader, asked)):
        if view.is_visible:
            since = (view.frozen and view.frozen.visible_since) or 0
            found[view.user_id][view.viewer] = since
    return found


def _view(row: Row) -> View:
    viewer, user_id, is_friend, is_visible, shows_last_seen, *times, _ = row
    return View(
        viewer,
        user_id,
        is_friend=bool(is_friend),
        is_visible=bool(is_visible),
        shows_last_seen=bool(shows_last_seen),
        frozen_for_viewer=frozen_of(*times[:3]),
        frozen_for_group=frozen_of(*times[3:]),
    )


_viewer_row = participant_table.alias("viewer_row")
_user_row = participant_table.alias("user_row")
# The user comes from this table, so that the database looks there first.
_user: ColumnElement[str] = settings_table.c.user_id
_ids = text_list("ids")
_may_hide: ColumnElement[bool] = bindparam(
    "may_hide", type_=Integer()
) == literal_column("1")
# One row if anybody has settings, and none otherwise. The database reads it first.
_anybody = (
    select(literal_column("1").label("one"))
    .where(exists(select(settings_table.alias("anybody").c.user_id)))
    .subquery("anybody_has_settings")
)


def _text(value: str) -> ColumnElement[str]:
    """A constant in the statement."""
    return literal_column(f"'{value}'")


def _is_visible(is_friend: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rule `models.visibility.can_see` for a relevant viewer."""
    kind, visibility = exception_table.c.kind, settings_table.c.visibility
    return case(
        (and_(_may_hide, kind == _text(NEVER)), false()),
        (kind == _text(ALWAYS), true()),
        (visibility == _text(Visible.FRIENDS), is_friend),
        (visibility == _text(Visible.NOBODY), ~_may_hide),
        else_=true(),
    )


def _columns(
    viewer: ColumnElement[str], *, is_friend: bool
) -> tuple[ColumnElement[Any], ...]:
    stored, of_viewer = settings_table.c, frozen_table.c
    friend = true() if is_friend else false()
    of_group = (
        (stored.friends_timestamp, stored.friends_last_seen, stored.friends_until)
        if is_friend
        else (stored.others_timestamp, stored.others_last_seen, stored.others_until)
    )
    shows_last_seen = or_(
        stored.last_seen == _text(Visible.EVERYONE),
        and_(stored.last_seen == _text(Visible.FRIENDS), friend),
    )
    return (
        viewer,
        _user,
        friend,
        _is_visible(friend),
        shows_last_seen,
        *(of_viewer.timestamp, of_viewer.last_seen, of_viewer.until),
        *of_group,
        null(),
    )


def _with_what_is_stored(
    columns: tuple[ColumnElement[Any], ...],
    source: FromClause,
    viewer: ColumnElement[str],
) -> Select[Any]:
    exception, of_viewer = exception_table.c, frozen_table.c
    return select(*columns).select_from(
        source.outerjoin(
            exception_table,
            and_(exception.user_id == _user, exception.viewer_id == viewer),
        ).outerjoin(
            frozen_table,
            and_(of_viewer.user_id == _user, of_viewer.viewer_id == viewer),
        )
    )


def _views(
    asked: Callable[[ColumnElement[str]], ColumnElement[bool]],
) -> list[Select[Any]]:
    """Rows for the `asked` viewers. `asked` takes the column of the viewer."""
    a, b, status = (
        friendship_table.c.user_a,
        friendship_table.c.user_b,
        friendship_table.c.status,
    )
    selects = [
        _with_what_is_stored(
            _columns(viewer, is_friend=True),
            _anybody.join(friendship_table, true()).join(settings_table, user == _user),
            viewer,
        ).where(status == ACCEPTED, asked(viewer))
        for viewer, user in ((a, b), (b, a))
    ]
    viewer = _viewer_row.c.user_id
    partners = (
        _with_what_is_stored(
            _columns(viewer, is_friend=False),
            _anybody.join(_viewer_row, true())
            .join(
                _user_row,
                _viewer_row.c.conversation_id == _user_row.c.conversation_id,
            )
            .join(settings_table, _user_row.c.user_id == _user),
            viewer,
        )
        .where(
            asked(viewer),
            viewer != _user,
            *(
                ~has_friendship(one, other, status)
                for one, other in ((viewer, _user), (_user, viewer))
                for status in (BLOCKED, ACCEPTED)
            ),
        )
        .distinct()
    )
    return [*selects, partners]


_nothing = [null()] * 6
_own = select(
    _user, _user, true(), true(), true(), *_nothing, settings_table.c.last_seen
)
_OF_VIEWERS = Statement(
    union_all(
        *_views(lambda viewer: among(viewer, _ids)), _own.where(among(_user, _ids))
    )
)
_OF_USERS = Statement(union_all(*_views(lambda _: among(_user, _ids))))
_pair = each_pair(pair_list("pairs")).table_valued("value", name="pair")
_stranger: ColumnElement[str] = _pair.c.value.op("->>", return_type=String())(0)
_OF_STRANGERS = Statement(
    _with_what_is_stored(
        _columns(_stranger, is_friend=False),
        _pair.join(
            settings_table, _user == _pair.c.value.op("->>", return_type=String())(1)
        ),
        _stranger,
    )
)
_FROZEN = Statement(
    select(frozen_table.c.viewer_id).where(among(frozen_table.c.user_id, _ids))
)
