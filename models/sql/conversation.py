"""Conversations and their participants."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.sql.db import Base, Identifier, table_of
from models.sql.user import User

TITLE_LENGTH = 200

MAX_PARTICIPANTS = 5_000
"""All participants see each other, so the cost of a conversation is the square of its
size. Each of them gets a snapshot of all the others: about 400 KB."""


class Conversation(Base):
    """A conversation, with the id that the host application has given it."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))


class Participant(Base):
    """A user in a conversation."""

    __tablename__ = "participants"

    conversation_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(Conversation.id, ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )

    # The primary key finds the participants, this index finds a user's conversations.
    __table_args__ = (
        Index(None, "user_id", "conversation_id"),
        {"sqlite_with_rowid": False},
    )


conversation_table = table_of(Conversation)
participant_table = table_of(Participant)
