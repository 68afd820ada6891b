"""Whether an error of the database is an outage, and whether its connection is kept."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.sql.db import is_unavailable, make_engine
from tests.databases import empty_postgresql

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def postgresql():
    with empty_postgresql() as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


@pytest.mark.parametrize(
    ("state", "away", "dropped"),
    [
        ("25006", True, True),  # read_only_sql_transaction
        ("57P01", True, True),  # admin_shutdown
        ("57P03", True, True),  # cannot_connect_now
        ("08006", True, True),  # connection_failure
        ("0A000", True, True),  # feature_not_supported: the plan is of an older table
        ("57014", True, False),  # query_canceled
        ("53100", True, False),  # disk_full
        ("53300", True, False),  # too_many_connections
        ("40001", True, False),  # serialization_failure
        ("40P01", True, False),  # deadlock_detected
        ("55P03", True, False),  # lock_not_available
        ("42501", True, False),  # insufficient_privilege
        ("42703", False, False),  # undefined_column
        ("23505", False, False),  # unique_violation
        ("P0001", False, False),  # raise_exception
    ],
)
def test_postgresql(postgresql, state, away, dropped):
    fail = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"
    with postgresql.connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(fail))
        assert is_unavailable(caught.value) is away
        assert connection.invalidated is dropped


def test_a_session_that_is_read_only_is_dropped(postgresql):
    with postgresql.connect() as connection:
        connection.execute(text("CREATE TABLE things (id int)"))
        connection.execute(text("SET default_transaction_read_only = on"))
    insert = text("INSERT INTO things VALUES (1)")
    with postgresql.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(insert)
    assert is_unavailable(caught.value)
    with postgresql.connect() as connection:
        connection.execute(insert)


@pytest.mark.parametrize(
    ("code", "away"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_READONLY, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_ERROR, False),  # a mistake in the SQL
        (sqlite3.SQLITE_CONSTRAINT, False),
    ],
)
def test_sqlite(code, away):
    error = sqlite3.OperationalError("of this code")
    error.sqlite_errorcode = code
    assert is_unavailable(OperationalError("SELECT 1", {}, error)) is away


def test_a_pool_without_a_free_connection():
    assert is_unavailable(PoolTimeout("no connection was free"))
