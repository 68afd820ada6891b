"""Sessions of users, in SQL: from when to when a user was online.

What is stored are transitions, under the user and the version (the timestamp) of each.
So a transition that is written twice, or after a newer one, does no harm. A session is
made of them when it is read: it starts with the first transition to online, and ends
with the next one to offline.

Two transitions to online in a row belong to one session. That happens if Redis has lost
its data, and a gateway has registered a socket again that was open all the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy import literal_column as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.recorded import RecordedTransition
from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.graph_rows import take_write_lock
from models.sql.statements import Reader, Row
from models.sql.user import User

_IS_END: dict[str, ColumnElement[bool]] = {
    "postgresql": sql("NOT online"),
    "sqlite": sql("online = 0"),
}
ROWS_AT_ONCE = 2_000
"""Rows of one read of a user's transitions."""


class StoredTransition(Base):
    """A transition of a user. Times are ms since the epoch."""

    __tablename__ = "transitions"

    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """The timestamp of the transition."""
    online: Mapped[bool]
    """Whether the user came online by it."""
    last_seen: Mapped[int] = mapped_column(BigInteger)

    # The primary key finds the transitions of a user. The index finds old ends of
    # sessions, which are deleted.
    __table_args__ = (
        Index(
            "ix_transitions_ends",
            "version",
            postgresql_where=_IS_END["postgresql"],
            sqlite_where=_IS_END["sqlite"],
        ),
        {"sqlite_with_rowid": False},
    )


class UserSession(NamedTuple):
    """From when to when a user was online (ms). `end` is None while it lasts."""

    start: int
    end: int | None


class SessionPage(NamedTuple):
    """A part of the sessions of a user. `next` is the `after` of the next page; None at
    the end."""

    items: list[UserSession]
    next: int | None


class _Found(NamedTuple):
    session: UserSession
    end_version: int | None
    """The version of the transition that ends it."""


transition_table = table_of(StoredTransition)
_columns = transition_table.c
_of_user = _columns.user_id == bindparam("user_id")
_PAGE = (
    select(_columns.version, _columns.online, _columns.last_seen)
    .where(_of_user, _columns.version > bindparam("after"))
    .order_by(_columns.version)
    .limit(ROWS_AT_ONCE)
)
_LAST_END_BEFORE = select(func.max(_columns.version)).where(
    _of_user, _columns.online.is_(False), _columns.version < bindparam("since")
)


def add_transitions(
    session: Session, transitions: Iterable[RecordedTransition]
) -> None:
    """Store the transitions that are not stored yet. The users must be stored
    (`models.sql.last_seen.hold_users`). The caller commits."""
    rows = [one._asdict() for one in sorted(transitions)]
    insert = upsert(session, transition_table).on_conflict_do_nothing()
    if rows:
        execute_many(session, insert, rows)


def sessions_page(
    reader: Reader, user_id: str, since: int, after: int, limit: int
) -> SessionPage:
    """At most `limit` sessions of the user that were not over at the time `since` (ms),
    the oldest first. `after` is 0 for the first page."""
    asked = {"user_id": user_id, "since": since}
    # A session ends at its last heartbeat, which is not later than the transition. So
    # all sessions before this transition were over.
    begin = max(after, reader.scalar(_LAST_END_BEFORE, asked) or 0)
    page: list[_Found] = []
    for found in _sessions(_transitions(reader, user_id, begin)):
        end = found.session.end
        if end is not None and end < since:
            continue
        if len(page) == limit:
            return SessionPage([one.session for one in page], page[-1].end_version)
        page.append(found)
    return SessionPage([one.session for one in page], None)


def _transitions(reader: Reader, user_id: str, after: int) -> Iterator[Row]:
    while True:
        rows = reader.execute(_PAGE, {"user_id": user_id, "after": after}).all()
        yield from rows
        if len(rows) < ROWS_AT_ONCE:
            return
        after = rows[-1][0]


def _sessions(transitions: Iterable[Row]) -> Iterator[_Found]:
    """The sessions that `transitions` (in the order of their versions) make."""
    start: int | None = None
    for version, online, last_seen in transitions:
        if online:
            start = version if start is None else start
        elif start is not None:
            yield _Found(UserSession(start, max(start, last_seen)), version)
            start = None
    if start is not None:
        yield _Found(UserSession(start, None), None)


def delete_sessions(session: Session, ended_before: int, limit: int) -> int:
    """Delete sessions that ended before that time (ms), those first that ended longest
    ago. At most `limit` of them. Returns how many. The caller commits."""
    take_write_lock(session)
    is_end = _IS_END[session.get_bind().dialect.name]
    ends = session.execute(
        select(_columns.user_id, _columns.version)
        .where(is_end, _columns.version < ended_before)
        .order_by(_columns.version)
        .limit(limit)
    ).all()
    # An end is over, and so is all before it.
    newest = {row[0]: row[1] for row in ends}
    statement = delete(transition_table).where(
        _columns.user_id == bindparam("user"), _columns.version <= bindparam("to")
    )
    rows = [{"user": user_id, "to": newest[user_id]} for user_id in sorted(newest)]
    if rows:
        execute_many(session, statement, rows)
    return len(ends)


def delete_all_sessions(session: Session, limit: int) -> int:
    """Delete at most `limit` stored transitions, of any user and time. Returns how
    many. The caller commits."""
    take_write_lock(session)
    rows = session.execute(
        select(_columns.user_id, _columns.version).limit(limit)
    ).all()
    statement = delete(transition_table).where(
        _columns.user_id == bindparam("user"), _columns.version == bindparam("at")
    )
    if rows:
        execute_many(
            session, statement, [{"user": user, "at": at} for user, at in rows]
        )
    return len(rows)
