"""How two users are related, for an explanation. This module only reads."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import exists, select

from models.sql.conversation import participant_table
from models.sql.friendship import FriendshipStatus, canonical, friendship_table
from models.sql.statements import Reader


class Relation(NamedTuple):
    """What the database has about a pair of users."""

    friendship: FriendshipStatus | None = None
    """None if there is no friendship."""
    share_conversation: bool = False

    @property
    def is_friend(self) -> bool:
        """Whether the two are accepted friends."""
        return self.friendship is FriendshipStatus.ACCEPTED

    @property
    def is_blocked(self) -> bool:
        """Whether the pair is blocked."""
        return self.friendship is FriendshipStatus.BLOCKED

    @property
    def is_relevant(self) -> bool:
        """Whether the two are relevant to each other (`models.sql.audience`)."""
        return not self.is_blocked and (self.is_friend or self.share_conversation)


def relation_of(reader: Reader, one: str, other: str) -> Relation:
    """How two different users are related.

    Raises:
        ValueError: both are the same user.
    """
    user_a, user_b = canonical(one, other)
    status = reader.scalar(
        select(friendship_table.c.status).where(
            friendship_table.c.user_a == user_a, friendship_table.c.user_b == user_b
        )
    )
    mine, theirs = participant_table.alias("mine"), participant_table.alias("theirs")
    shared = exists().where(
        mine.c.conversation_id == theirs.c.conversation_id,
        mine.c.user_id == one,
        theirs.c.user_id == other,
    )
    return Relation(status, bool(reader.scalar(select(shared))))
