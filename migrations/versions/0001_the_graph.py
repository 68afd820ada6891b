"""The host application's graph: users, friendships, conversations, participants.

Revision 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out rather than imported from models: a migration stays as it was.
IDENTIFIER = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
BLOCKED = sa.text("status = 'blocked'")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("display_name", sa.String(200), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_table(
        "conversations",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_table(
        "friendships",
        sa.Column("user_a", IDENTIFIER, nullable=False),
        sa.Column("user_b", IDENTIFIER, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint(
            "user_a",
            "user_b",
            name=op.f("pk_friendships"),
            postgresql_include=["status"],
        ),
        sa.ForeignKeyConstraint(
            ["user_a"],
            ["users.id"],
            name=op.f("fk_friendships_user_a_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_b"],
            ["users.id"],
            name=op.f("fk_friendships_user_b_users"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'accepted', 'blocked')",
            name=op.f("ck_friendships_status"),
        ),
        sa.CheckConstraint(
            "user_a < user_b", name=op.f("ck_friendships_canonical_order")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_friendships_user_b_status_user_a"),
        "friendships",
        ["user_b", "status", "user_a"],
    )
    op.create_index(
        op.f("ix_friendships_blocked"),
        "friendships",
        ["user_a", "user_b"],
        postgresql_where=BLOCKED,
        sqlite_where=BLOCKED,
    )
    op.create_table(
        "participants",
        sa.Column("conversation_id", IDENTIFIER, nullable=False),
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.PrimaryKeyConstraint(
            "conversation_id", "user_id", name=op.f("pk_participants")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_participants_conversation_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_participants_user_id_users"),
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_participants_user_id_conversation_id"),
        "participants",
        ["user_id", "conversation_id"],
    )


def downgrade() -> None:
    op.drop_table("participants")
    op.drop_table("friendships")
    op.drop_table("conversations")
    op.drop_table("users")
