"""Changes of the graph that are perhaps not announced yet.

Revision 0003. Code that does not know the table neither reads nor writes it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pending_announcements",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("snapshots", sa.Text(), nullable=False),
        sa.Column("disconnects", sa.Text(), nullable=False),
        sa.Column("was_told", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_announcements")),
    )


def downgrade() -> None:
    op.drop_table("pending_announcements")
