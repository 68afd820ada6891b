"""When users were last seen, in SQL: Redis forgets it a day after a user has left, and
when it loses its data.

`tasks.history` writes it here, some seconds after each transition. A row says what the
newest transition of a user was. Its `version` is the timestamp of this transition, so a
row is never replaced by an older one, however late or often that is written.

Nothing before `kept_since` is shown. At that time the tables were made, so they lack
what happened before. The same is true for what viewers of hidden users are shown
(`models.visibility.shown`), so that these look like users who are offline.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, ForeignKey, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.events import MAX_TIMESTAMP
from models.recorded import RecordedTransition
from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.graph_rows import take_write_lock
from models.sql.sql_arrays import among, text_list
from models.sql.statements import Reader, Statement
from models.sql.user import User, user_table


class LastSeen(Base):
    """The newest transition of a user. Times are ms since the epoch."""

    __tablename__ = "last_seen"

    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(BigInteger)
    """The timestamp of the transition."""
    online: Mapped[bool]
    """Whether the user came online by it."""
    last_seen: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = ({"sqlite_with_rowid": False},)


class LastSeenStart(Base):
    """One row: when the migration made these tables (ms since the epoch)."""

    __tablename__ = "last_seen_start"

    since: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False
    )


last_seen_table = table_of(LastSeen)
start_table = table_of(LastSeenStart)
_columns = last_seen_table.c
_START = Statement(select(func.max(start_table.c.since)))
_rows_of = select(
    _columns.user_id, _columns.version, _columns.online, _columns.last_seen
).where(among(_columns.user_id, text_list("ids")))
_NEWEST = Statement(_rows_of)
_KEPT = Statement(
    _rows_of.where(
        _columns.last_seen >= select(func.max(start_table.c.since)).scalar_subquery()
    )
)


def kept_since(reader: Reader) -> int:
    """Since when this table has every `last_seen` (ms). An older one is not shown if
    Redis does not know it any more."""
    ((since,),) = _START.rows(reader, {})
    return MAX_TIMESTAMP if since is None else int(since)


def stored_last_seen(
    reader: Reader, user_ids: Iterable[str]
) -> dict[str, RecordedTransition]:
    """What is stored of `user_ids` and may be shown. Leaves out users without a row."""
    return _rows(_KEPT, reader, user_ids)


def newest_stored(
    reader: Reader, user_ids: Iterable[str]
) -> dict[str, RecordedTransition]:
    """All that is stored of `user_ids`."""
    return _rows(_NEWEST, reader, user_ids)


def _rows(
    statement: Statement, reader: Reader, user_ids: Iterable[str]
) -> dict[str, RecordedTransition]:
    rows = statement.rows(reader, {"ids": list(user_ids)})
    return {
        row[0]: RecordedTransition(row[0], row[1], bool(row[2]), row[3]) for row in rows
    }


def hold_users(session: Session, user_ids: Iterable[str]) -> set[str]:
    """Which of `user_ids` are stored. Until the commit nobody can delete them.

    Everybody locks users in the order of their ids, so this cannot deadlock with a call
    that deletes users. Calls that change the graph do not wait for this lock.
    """
    take_write_lock(session)
    statement = (
        select(user_table.c.id)
        .where(among(user_table.c.id, text_list("ids")))
        .order_by(user_table.c.id)
        .with_for_update(read=True, key_share=True)
    )
    return set(session.scalars(statement, {"ids": list(user_ids)}))


def put_last_seen(session: Session, transitions: Iterable[RecordedTransition]) -> None:
    """Store the newest transition of each user, if it is newer than what is stored. The
    users must be stored (`hold_users`). The caller commits."""
    newest: dict[str, RecordedTransition] = {}
    for one in transitions:
        known = newest.get(one.user_id)
        if known is None or known.version < one.version:
            newest[one.user_id] = one
    insert = upsert(session, last_seen_table)
    new = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=["user_id"],
        set_={name: new[name] for name in ("version", "online", "last_seen")},
        where=_columns.version < new.version,
    )
    rows = [newest[user_id]._asdict() for user_id in sorted(newest)]
    if rows:
        execute_many(session, statement, rows)
