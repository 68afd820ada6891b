"""The users of the host application, as far as presence needs them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import DateTime, String, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.sql_arrays import among, text_list
from models.sql.statements import Reader, Statement

DISPLAY_NAME_LENGTH = 200


class User(Base):
    """A user, with the id that the host application has given it."""

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
    """Which of `user_ids` are not stored."""
    asked = list(user_ids)
    known = {user_id for (user_id,) in _KNOWN.rows(reader, {"ids": asked})}
    return set(asked) - known


def ensure_users(session: Session, user_ids: Iterable[str]) -> None:
    """Insert the users that are not stored yet, with the id as display name.

    Two processes may insert the same user at the same time. The caller commits.
    """
    # Read first, so that stored users (nearly all of them) need no write lock.
    insert = upsert(session, user_table).on_conflict_do_nothing()
    unknown = sorted(unknown_users(session, user_ids))
    rows = [{"id": user_id, "display_name": user_id} for user_id in unknown]
    execute_many(session, insert, rows)


def put_users(session: Session, names: dict[str, str]) -> None:
    """Create or rename users: id -> display name. The caller commits."""
    insert = upsert(session, user_table)
    statement = insert.on_conflict_do_update(
        index_elements=["id"], set_={"display_name": insert.excluded.display_name}
    )
    # In order of the ids, so that two calls with the same users cannot deadlock.
    rows = [{"id": key, "display_name": names[key]} for key in sorted(names)]
    execute_many(session, statement, rows)
