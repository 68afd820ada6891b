"""The databases of these tests: SQLite and PostgreSQL."""

from tests.databases import (  # noqa: F401
    database_url,
    engine,
    session,
)
