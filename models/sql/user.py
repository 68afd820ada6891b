"""The users of the host application, as far as presence needs to know them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import DateTime, String, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.sql_arrays import among, text_list
from models.sql.statements import Reader, Statement

DISPLAY_NAME_LENGTH = 200


class User(Base):
    """A user, under the id that the host application gave."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    display_name: Mapped[str] = mapped_column(String(DISPLAY_NAME_LENGTH))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )


user_table = table_of(User)
_KNOWN = Statement(
    select(user_table.c.id).where(among(user_table.c.id, text_list("ids")))
)


def unknown_users(reader: Reader, user_ids: Iterable[str]) -> set[str]:
    """Those of `user_ids` who are not stored."""
    asked = list(user_ids)
    known = {user_id for (user_id,) in _KNOWN.rows(reader, {"ids": asked})}
    return set(asked) - known


def ensure_users(session: Session, user_ids: Iterable[str]) -> None:
    """Insert those of the users who are unknown, each named by the id; otherwise
    nothing changes.

    Safe when two processes meet the same new user at once. The caller commits.
    """
    # A plain read first, so that known users (nearly all) take no write lock.
    insert = upsert(session, user_table).on_conflict_do_nothing()
    unknown = sorted(unknown_users(session, user_ids))
    rows = [{"id": user_id, "display_name": user_id} for user_id in unknown]
    execute_many(session, insert, rows)


def put_users(session: Session, names: dict[str, str]) -> None:
    """Create the users or rename existing ones: id -> display name. The caller
    commits."""
    insert = upsert(session, user_table)
    statement = insert.on_conflict_do_update(
        index_elements=["id"], set_={"display_name": insert.excluded.display_name}
    )
    # In id order: two calls that name the same users wait for each other, and never
    # crosswise.
    rows = [{"id": key, "display_name": names[key]} for key in sorted(names)]
    execute_many(session, statement, rows)


def delete_user(session: Session, user_id: str) -> None:
    """Delete the user with all relations; an unknown user is no error.

    The database cascades to friendships and participants. Use `delete_user` of
    `models.sql.graph` to learn whose relations ended. The caller commits.
    """
    session.execute(delete(user_table).where(user_table.c.id == user_id))
