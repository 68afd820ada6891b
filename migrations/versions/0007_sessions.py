"""When users were last seen, and their sessions.

Revision 0007. Code that does not know the tables may run while they are there. What it
does not write down is in Redis, and a worker of this version adds it later.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

IDENTIFIER = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
TRANSITION = (
    ("version", sa.BigInteger()),
    ("online", sa.Boolean()),
    ("last_seen", sa.BigInteger()),
)


def upgrade() -> None:
    for table, key in (
        ("last_seen", ["user_id"]),
        ("transitions", ["user_id", "version"]),
    ):
        op.create_table(
            table,
            sa.Column("user_id", IDENTIFIER, nullable=False),
            *(sa.Column(name, kind, nullable=False) for name, kind in TRANSITION),
            sa.ForeignKeyConstraint(
                ["user_id"],
                ["users.id"],
                name=op.f(f"fk_{table}_user_id_users"),
                ondelete="CASCADE",
            ),
            sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    op.create_index(
        op.f("ix_transitions_ends"),
        "transitions",
        ["version"],
        postgresql_where=sa.text("NOT online"),
        sqlite_where=sa.text("online = 0"),
    )
    start = op.create_table(
        "last_seen_start",
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("since", name=op.f("pk_last_seen_start")),
    )
    op.bulk_insert(start, [{"since": time.time_ns() // 1_000_000}])


def downgrade() -> None:
    op.drop_table("last_seen_start")
    op.drop_table("transitions")
    op.drop_table("last_seen")
