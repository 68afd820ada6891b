"""What users are shown as: the layers of the user and of the host.

Revision 0005. Code that does not know the columns neither reads nor writes them, so it
may run while they are there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LAYERS = ("manual", "host")
TABLE = "presence_settings"


def upgrade() -> None:
    for layer in LAYERS:
        for name, kind in (
            ("availability", sa.String(8)),
            ("text", sa.String(140)),
            ("emoji", sa.String(32)),
            ("since", sa.BigInteger()),
            ("expires_at", sa.BigInteger()),
        ):
            op.add_column(TABLE, sa.Column(f"{layer}_{name}", kind, nullable=True))
        column = f"{layer}_expires_at"
        op.create_index(op.f(f"ix_{TABLE}_{column}"), TABLE, [column])


def downgrade() -> None:
    for layer in LAYERS:
        op.drop_index(op.f(f"ix_{TABLE}_{layer}_expires_at"), TABLE)
        for name in ("availability", "text", "emoji", "since", "expires_at"):
            op.drop_column(TABLE, f"{layer}_{name}")
