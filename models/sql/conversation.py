"""Conversations and who takes part in them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.sql.db import Base, Identifier, table_of
from models.sql.user import User

TITLE_LENGTH = 200

# Everybody in a conversation sees everybody else in it: the cost of a conversation is
# the square of its size. A thousand is half a million pairs.
MAX_PARTICIPANTS = 1000


class Conversation(Base):
    """A conversation, under the id that the host application gave."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))


class Participant(Base):
    """A user's place in a conversation."""

    __tablename__ = "participants"

    conversation_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(Conversation.id, ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )

    # The primary key finds who is in a conversation, this index a user's conversations.
    __table_args__ = (
        Index(None, "user_id", "conversation_id"),
        {"sqlite_with_rowid": False},
    )


conversation_table = table_of(Conversation)
participant_table = table_of(Participant)
