"""Friendships: one row per pair of users, in either direction."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Enum,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    literal_column,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.sql.db import Base, Identifier, table_of
from models.sql.user import User


class FriendshipStatus(StrEnum):
    """The state of a friendship."""

    PENDING = "pending"
    """Requested, but not answered: the two do not see each other's presence."""
    ACCEPTED = "accepted"
    """Friends: they see each other's presence."""
    BLOCKED = "blocked"
    """They never see each other, even if they share a conversation."""


# Literals, not bind values: the planner uses the partial index only if it knows the
# status.
ACCEPTED: ColumnElement[str] = literal_column(f"'{FriendshipStatus.ACCEPTED}'")
BLOCKED: ColumnElement[str] = literal_column(f"'{FriendshipStatus.BLOCKED}'")


class Friendship(Base):
    """A pair of users, in canonical order: `user_a` < `user_b`."""

    __tablename__ = "friendships"

    user_a: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE")
    )
    user_b: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE")
    )
    status: Mapped[FriendshipStatus] = mapped_column(
        Enum(
            FriendshipStatus,
            name="status",
            native_enum=False,
            create_constraint=True,
            length=16,
            values_callable=lambda statuses: [status.value for status in statuses],
        )
    )

    # A lookup in either direction reads only an index. `user_a` uses the primary key,
    # which also has the status (by INCLUDE on PostgreSQL; on SQLite the table has no
    # rowid, so the key has the whole row). `user_b` uses the second index. The audience
    # looks up a blocked pair for each conversation partner; there are few, so they have
    # a small index.
    __table_args__ = (
        PrimaryKeyConstraint("user_a", "user_b", postgresql_include=["status"]),
        CheckConstraint("user_a < user_b", name="canonical_order"),
        Index(None, "user_b", "status", "user_a"),
        Index(
            "ix_friendships_blocked",
            "user_a",
            "user_b",
            postgresql_where=literal_column("status") == BLOCKED,
            sqlite_where=literal_column("status") == BLOCKED,
        ),
        {"sqlite_with_rowid": False},
    )


friendship_table = table_of(Friendship)


def canonical(one: str, other: str) -> tuple[str, str]:
    """The pair in the order in which it is stored: smaller id first.

    Raises:
        ValueError: both are the same user.
    """
    if one == other:
        message = f"{one} cannot be in a friendship with the same user"
        raise ValueError(message)
    return (one, other) if one < other else (other, one)
