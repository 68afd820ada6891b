"""Changes of the graph that are not announced yet.

A row is written in the transaction of the change, so either both exist or neither. The
process that made the change announces it to the users who are online, and then deletes
the row. If Redis was down, or that process died, the row stays, and
`tasks.announcements` announces the change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import DateTime, String, Text, delete, false, func, insert, select
from sqlalchemy import update as update_rows
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.events import EVERYBODY
from models.identifiers import ids_in, joined_ids
from models.sql.db import Base, table_of
from models.sql.sql_arrays import among, text_list
from models.sql.statements import Reader

MAX_NAMED = 1_000
"""Users that one row names. If a change concerns more users, the row says EVERYBODY."""
MAX_READ = 1_000
"""Rows of one read."""


class PendingAnnouncement(Base):
    """One change. Lists of ids are stored as one text, made by `joined_ids`."""

    __tablename__ = "pending_announcements"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    snapshots: Mapped[str] = mapped_column(Text)
    """Users who gained or lost a relation, or EVERYBODY."""
    disconnects: Mapped[str] = mapped_column(Text)
    """Users whose sockets must be closed."""
    was_told: Mapped[bool] = mapped_column(server_default=false())
    """It was announced, but maybe not to every gateway."""
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )


announcement_table = table_of(PendingAnnouncement)


@dataclass(frozen=True, slots=True)
class Pending:
    """One row. `age` is in seconds, by the database's clock."""

    id: str
    snapshots: tuple[str, ...]
    disconnects: tuple[str, ...]
    was_told: bool
    age: float


def record(
    session: Session, snapshots: Collection[str], disconnects: Collection[str] = ()
) -> str:
    """Record that the users `snapshots` need fresh snapshots, and that the sockets of
    `disconnects` must be closed. Returns the id of the row. The caller commits."""
    key = uuid4().hex
    named = sorted(snapshots) if len(snapshots) <= MAX_NAMED else [EVERYBODY]
    row = {
        "id": key,
        "snapshots": joined_ids(named),
        "disconnects": joined_ids(sorted(disconnects)),
    }
    session.execute(insert(announcement_table).values(row))
    return key


def pending(reader: Reader) -> list[Pending]:
    """The oldest rows."""
    table = announcement_table.c
    columns = (table.id, table.snapshots, table.disconnects, table.was_told)
    age = (table.created_at, func.now())
    rows = reader.execute(
        select(*columns, *age).order_by(table.created_at).limit(MAX_READ)
    )
    return [
        Pending(
            key,
            tuple(ids_in(snapshots)),
            tuple(ids_in(disconnects)),
            was_told,
            (now - created_at).total_seconds(),
        )
        for key, snapshots, disconnects, was_told, created_at, now in rows
    ]


def remove(session: Session, keys: Iterable[str]) -> None:
    """Delete the rows, whose changes were announced. The caller commits."""
    rows = among(announcement_table.c.id, text_list("ids"))
    session.execute(delete(announcement_table).where(rows), {"ids": sorted(keys)})


def mark_told(session: Session, keys: Sequence[str]) -> None:
    """Record that the rows were announced, but maybe not to every gateway. The caller
    commits."""
    rows = among(announcement_table.c.id, text_list("ids"))
    statement = update_rows(announcement_table).where(rows).values(was_told=True)
    session.execute(statement, {"ids": sorted(keys)})
