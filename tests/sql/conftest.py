"""The databases of these tests: every test of SQL runs on SQLite and PostgreSQL."""

from tests.databases import (  # noqa: F401
    database_url,
    empty_database_url,
    engine,
    session,
)
