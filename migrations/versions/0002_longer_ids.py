"""Ids of up to 128 characters.

Revision 0002. SQLite keeps no lengths, so nothing changes there.

On PostgreSQL no row is rewritten, but the tables are locked for a moment. Afterwards
the other sessions of the same database user are closed. In these sessions, a statement
that was prepared before would fail forever ("cached plan must not change result type").
A pool opens new sessions.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# In the order in which the application locks them.
TABLES = ("conversations", "users", "friendships", "participants")
COLUMNS = (
    ("conversations", "id"),
    ("users", "id"),
    ("friendships", "user_a"),
    ("friendships", "user_b"),
    ("participants", "conversation_id"),
    ("participants", "user_id"),
)
ATTEMPTS = 60


def upgrade() -> None:
    _set_length(64, 128)


def downgrade() -> None:
    _set_length(128, 64)


def _set_length(old: int, new: int) -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    _lock()
    for table, column in COLUMNS:
        op.alter_column(
            table,
            column,
            type_=sa.String(new, collation="C"),
            existing_type=sa.String(old, collation="C"),
            existing_nullable=False,
        )
    with op.get_context().autocommit_block():
        op.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def _lock() -> None:
    """Take all locks at once. If another session holds one of them, it goes first: we
    give up long before PostgreSQL looks for a deadlock, and try again."""
    lock = f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"
    if op.get_context().as_sql:
        op.execute(lock)
        return
    connection = op.get_bind()
    connection.execute(sa.text("SET LOCAL lock_timeout = '300ms'"))
    for attempt in range(ATTEMPTS):
        try:
            with connection.begin_nested():
                connection.execute(sa.text(lock))
        except OperationalError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.2)
        else:
            break
    connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
