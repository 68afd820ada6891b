"""The migrations: up, down, up again, and equal to the models."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from alembic import command
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from config import PROJECT_ROOT
from models.sql.db import Base, PersistentReader, make_engine, session_factory
from models.sql.user import put_users, user_table
from tests.databases import alembic_config

pytestmark = pytest.mark.integration

TABLES = {
    "users",
    "friendships",
    "conversations",
    "participants",
    "pending_announcements",
    "presence_settings",
    "presence_exceptions",
    "frozen_statuses",
    "revocations",
    "last_seen",
    "last_seen_start",
    "transitions",
}


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    names = set(inspect(engine).get_table_names()) - {"alembic_version"}
    engine.dispose()
    return names


def test_up_down_and_up_again(empty_database_url):
    config = alembic_config(empty_database_url)

    command.upgrade(config, "head")
    assert tables(empty_database_url) == TABLES == set(Base.metadata.tables)
    command.check(config)  # raises where the models are not what is migrated
    command.downgrade(config, "base")
    assert tables(empty_database_url) == set()
    command.upgrade(config, "head")
    assert tables(empty_database_url) == TABLES


def test_ids_grow_while_the_application_runs(empty_database_url):
    """What it prepared on its connections before must not fail forever."""
    config = alembic_config(empty_database_url)
    command.upgrade(config, "0001")
    engine = make_engine(empty_database_url)
    reader = PersistentReader(engine)
    prepared = select(user_table.c.id)
    with session_factory(engine)() as session:
        put_users(session, {"ann": "Ann"})
        session.commit()
    for _ in range(10):
        assert reader.read(lambda kept: kept.scalars(prepared).all()) == ["ann"]

    command.upgrade(config, "head")
    assert reader.read(lambda kept: kept.scalars(prepared).all()) == ["ann"]
    longest = "x" * 128
    with session_factory(engine)() as session:
        put_users(session, {longest: "X"})
        session.commit()
    found = reader.read(lambda kept: kept.scalars(prepared).all())
    assert set(found) == {"ann", longest}
    reader.close()
    engine.dispose()


@pytest.mark.slow
def test_the_command_line_needs_nothing_but_the_database_url(empty_database_url):
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PRESENCE_", "SECRET_KEY", "DATABASE_"))
    }
    # As Heroku writes it, without a driver.
    environ["DATABASE_URL"] = empty_database_url.replace(
        "postgresql+psycopg://", "postgres://"
    )
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=PROJECT_ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert tables(empty_database_url) == set()


def test_constraints_indexes_and_checks_are_those_of_the_models(database_url):
    """What `alembic check` does not compare: names, order, checks, ON DELETE."""
    migrated = make_engine(database_url)
    expected = description(migrated)
    with migrated.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert description(migrated) == expected
    migrated.dispose()


def description(engine) -> dict[str, object]:
    found = inspect(engine)
    facts: dict[str, object] = {}
    for table in TABLES:
        facts[table] = {
            "columns": [
                (column["name"], column_type(column, found.dialect), column["nullable"])
                for column in found.get_columns(table)
            ],
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(found.get_foreign_keys(table), key=str),
            "indexes": sorted(map(plain, found.get_indexes(table)), key=str),
            "checks": sorted(map(plain, found.get_check_constraints(table)), key=str),
        }
    return facts


def column_type(column, dialect) -> str:
    # SQLite keeps no lengths, so migrations leave those that it was once told.
    text = str(column["type"])
    return text.partition("(")[0] if dialect.name == "sqlite" else text


def plain(fact) -> dict[str, str]:
    options = fact.get("dialect_options", {})
    options = {name: str(value) for name, value in options.items()}
    return {key: str(value) for key, value in {**fact, **options}.items()} | {
        "dialect_options": ""
    }


@pytest.mark.parametrize(
    "row",
    [
        "('bob', 'ann', 'accepted')",
        "('ann', 'ann', 'accepted')",
        "('ann', 'bob', 'enemies')",
        "('ann', 'nobody', 'accepted')",
    ],
)
def test_the_database_itself_refuses_what_makes_no_sense(engine, row):
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO users (id, display_name) VALUES ('ann', ''), ('bob', '')")
        )
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"INSERT INTO friendships VALUES {row}"))  # noqa: S608


def test_ids_are_ordered_byte_by_byte_on_both_databases(engine):
    ids = ["a", "B", "_", "1", "a-b", "a_b", "aB", "@", "Z"]
    with engine.begin() as connection:
        for user_id in ids:
            connection.execute(
                text("INSERT INTO users (id, display_name) VALUES (:id, '')"),
                {"id": user_id},
            )
        found = connection.scalars(text("SELECT id FROM users ORDER BY id")).all()
    assert found == sorted(ids)


def test_sqlite_runs_with_foreign_keys_and_a_write_ahead_log(engine):
    if engine.dialect.name != "sqlite":
        assert engine.pool.size() == 5
        return
    with engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "busy_timeout")
        }
    # It never waits in C (models.sql.sqlite).
    assert pragma == {"foreign_keys": 1, "journal_mode": "wal", "busy_timeout": 0}
