"""Who may see whom: settings, exceptions, and what viewers see of hidden users.

Revision 0004. Code that does not know the tables neither reads nor writes them, so it
may run while the tables are there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

IDENTIFIER = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "presence_settings",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column(
            "visibility", sa.String(16), server_default="everyone", nullable=False
        ),
        sa.Column(
            "last_seen", sa.String(16), server_default="everyone", nullable=False
        ),
        sa.Column("friends_timestamp", sa.BigInteger(), nullable=True),
        sa.Column("friends_last_seen", sa.BigInteger(), nullable=True),
        sa.Column("friends_until", sa.BigInteger(), nullable=True),
        sa.Column("others_timestamp", sa.BigInteger(), nullable=True),
        sa.Column("others_last_seen", sa.BigInteger(), nullable=True),
        sa.Column("others_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_presence_settings_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_presence_settings")),
    )
    op.create_table(
        "presence_exceptions",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("viewer_id", IDENTIFIER, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_presence_exceptions_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "user_id", "viewer_id", name=op.f("pk_presence_exceptions")
        ),
    )
    op.create_table(
        "frozen_statuses",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("viewer_id", IDENTIFIER, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_frozen_statuses_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "user_id", "viewer_id", name=op.f("pk_frozen_statuses")
        ),
    )


def downgrade() -> None:
    op.drop_table("frozen_statuses")
    op.drop_table("presence_exceptions")
    op.drop_table("presence_settings")
