"""Friendships: one row per pair of users, whoever asked first."""

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
    """How two users stand to each other."""

    PENDING = "pending"
    """Asked, not answered: no presence is shown for it."""
    ACCEPTED = "accepted"
    """Friends: they see each other's presence."""
    BLOCKED = "blocked"
    """They never see each other, even where they share a conversation."""

    @classmethod
    def parse(cls, value: object) -> FriendshipStatus:
        """The status of that name.

        Raises:
            ValueError: there is none; the message says which there are.
        """
        for status in cls:
            if status.value == value:
                return status
        message = "takes accepted, pending or blocked"
        raise ValueError(message)


# Literals, not bind values: the planner picks the partial index only if it sees the
# status when it plans.
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

    # Both directions are answered from an index alone. From `user_a` by the primary
    # key, which holds the status too (INCLUDE there, the whole row in SQLite's table
    # without rowid); from `user_b` by the second index. Blocked pairs are few, and the
    # audience looks one up for each conversation partner: a small index of their own.
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
    """The pair as it is stored, smaller id first.

    Raises:
        ValueError: both are the same user.
    """
    if one == other:
        message = f"{one} cannot be in a friendship with the same user"
        raise ValueError(message)
    return (one, other) if one < other else (other, one)
