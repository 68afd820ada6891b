"""Alembic's entry: which database, which tables.

The database is `DATABASE_URL`'s, or `alembic -x url=...`, or
`Config.attributes["url"]` where code runs Alembic. Nothing else must be set: a release
step migrates without knowing the secrets that sign tokens.
"""

from __future__ import annotations

import logging
import os

from alembic import context
from sqlalchemy import Connection, Engine, String
from sqlalchemy.exc import DBAPIError

import models.sql.conversation
import models.sql.friendship
import models.sql.pending_announcements
import models.sql.presence_settings
import models.sql.user
from config import Settings, SettingsError
from models.sql.db import Base, make_engine, transactional

TABLES = (
    models.sql.user.User,
    models.sql.friendship.Friendship,
    models.sql.conversation.Participant,
    models.sql.pending_announcements.PendingAnnouncement,
    models.sql.presence_settings.StoredSettings,
    models.sql.presence_settings.StoredException,
    models.sql.presence_settings.FrozenStatus,
)


def database_url() -> str:
    """The URL with its driver named, read as the application reads it."""
    given = context.get_x_argument(as_dictionary=True).get("url")
    given = given or context.config.attributes.get("url")
    # Of all settings only this one matters here, so it is the only one read; the
    # secret is demanded by Settings and used by nothing.
    try:
        return Settings.from_env(
            {
                "DATABASE_URL": given or os.environ.get("DATABASE_URL", ""),
                "PRESENCE_JWT_SECRET": "not-used-by-migrations-not-used-by-migrations",
            }
        ).database_url
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
    """SQLite keeps no lengths of texts: a column that is to be wider is left as it is.
    None leaves the comparison to Alembic."""
    is_sqlite = context.get_context().dialect.name == "sqlite"
    both_texts = isinstance(found, String) and isinstance(wanted, String)
    return False if is_sqlite and both_texts else None


def _connect() -> tuple[Engine, Connection]:
    """A connection, or the end with the one line that says why there is none."""
    url = database_url()
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
        context.configure(url=database_url(), literal_binds=True, **options)
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


logging.basicConfig(format="%(levelname)s %(message)s")
logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
migrate()
