"""Alembic's entry point: it says which database and which tables.

The URL of the database is `DATABASE_URL`, or that of `alembic -x url=...`. If code runs
Alembic, it is `Config.attributes["url"]`. No other setting is needed: a release step
can migrate without the secrets that sign tokens.
"""

from __future__ import annotations

import logging
import os

from alembic import context
from sqlalchemy import Connection, Engine, String
from sqlalchemy.exc import DBAPIError

import models.sql.conversation
import models.sql.friendship
import models.sql.last_seen
import models.sql.pending_announcements
import models.sql.presence_settings
import models.sql.revocations
import models.sql.sessions
import models.sql.user
from config import Settings, SettingsError
from models.sql.db import Base, make_engine, transactional
from models.telemetry import logs

TABLES = (
    models.sql.user.User,
    models.sql.friendship.Friendship,
    models.sql.conversation.Participant,
    models.sql.pending_announcements.PendingAnnouncement,
    models.sql.presence_settings.StoredSettings,
    models.sql.presence_settings.StoredException,
    models.sql.presence_settings.FrozenStatus,
    models.sql.revocations.Revocation,
    models.sql.last_seen.LastSeen,
    models.sql.last_seen.LastSeenStart,
    models.sql.sessions.StoredTransition,
)


def settings() -> Settings:
    """The settings that matter here: the URL of the database, with the name of its
    driver, and the form of the log."""
    given = context.get_x_argument(as_dictionary=True).get("url")
    given = given or context.config.attributes.get("url")
    # No other setting is read. `Settings` requires a secret, but nothing uses it here.
    try:
        return Settings.from_env(
            {
                "DATABASE_URL": given or os.environ.get("DATABASE_URL", ""),
                "PRESENCE_JWT_SECRET": "not-used-by-migrations-not-used-by-migrations",
                "LOG_FORMAT": os.environ.get("LOG_FORMAT", ""),
            }
        )
    except SettingsError as error:
        message = f"greendot: {error}"
        raise SystemExit(message) from None


def _types_differ(
    _context: object,
    _column: object,
    _wanted_column: object,
    found: object,
    wanted: object,
) -> bool | None:
    """Whether a column needs another type. SQLite stores no lengths of texts, so it
    needs none for another length. None leaves the comparison to Alembic."""
    is_sqlite = context.get_context().dialect.name == "sqlite"
    both_texts = isinstance(found, String) and isinstance(wanted, String)
    return False if is_sqlite and both_texts else None


def _connect() -> tuple[Engine, Connection]:
    """Connect. If that fails, end the process with one line that says why."""
    url = settings().database_url
    try:
        engine = make_engine(url, may_be_slow=True)
        return engine, transactional(engine).connect()
    except (DBAPIError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        message = f"greendot: DATABASE_URL: the database does not answer: {reason}"
        raise SystemExit(message) from None


def migrate() -> None:
    """Run the migrations, or print their SQL (`--sql`)."""
    options = {"target_metadata": Base.metadata, "compare_type": _types_differ}
    if context.is_offline_mode():
        context.configure(url=settings().database_url, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine, connection = _connect()
    with connection:
        # SQLite cannot alter most of a table in place: batch mode copies it.
        batch = connection.dialect.name == "sqlite"
        context.configure(connection=connection, render_as_batch=batch, **options)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if not logging.getLogger().handlers:  # else our caller has set up its log
    logs.configure(settings())
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
migrate()
