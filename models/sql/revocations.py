"""Revoked users: their tokens and tickets that were issued up to some time are refused.

A row outlives its user. Otherwise old tokens would work again if the user were deleted
and created anew.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.sql.db import Base, Identifier, table_of, upsert
from models.sql.statements import Reader, Statement


class Revocation(Base):
    """The last revocation of one user. `revoked_at` is in whole seconds since the
    epoch."""

    __tablename__ = "revocations"

    user_id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    revoked_at: Mapped[int] = mapped_column(BigInteger, index=True)


revocation_table = table_of(Revocation)
_SINCE = Statement(
    select(revocation_table.c.user_id, revocation_table.c.revoked_at).where(
        revocation_table.c.revoked_at >= bindparam("since", type_=BigInteger)
    )
)


def revoked_since(reader: Reader, since: int) -> dict[str, int]:
    """The users who were revoked at `since` (seconds) or later, and when."""
    rows = _SINCE.rows(reader, {"since": since})
    return {row[0]: row[1] for row in rows}


def next_issue(session: Session, user_id: str, now: int) -> int:
    """When a token or ticket of `user_id` that is made `now` counts as issued: now, or
    right after a revocation in this second. All times are in seconds."""
    row = session.get(Revocation, user_id)
    return now if row is None else max(now, row.revoked_at + 1)


def revoke(session: Session, user_id: str, now: int) -> None:
    """Store that `user_id` is revoked at `now` (seconds). An earlier revocation of the
    same user is replaced, and a later one stays. The caller commits."""
    insert = upsert(session, revocation_table).values(user_id=user_id, revoked_at=now)
    stored, new = revocation_table.c.revoked_at, insert.excluded.revoked_at
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["user_id"], set_={"revoked_at": new}, where=stored < new
        )
    )
