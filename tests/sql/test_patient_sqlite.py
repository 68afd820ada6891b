"""SQLite in a gateway: it never waits in C, nor goes on with a file that is lost."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import gevent
import pytest
from alembic import command
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.threads import in_thread
from models.sql import sqlite
from models.sql.db import (
    PersistentReader,
    check_writes,
    is_unavailable,
    make_engine,
    session_factory,
)
from models.sql.user import put_users, unknown_users
from tests.databases import alembic_config, sqlite_file

pytestmark = pytest.mark.integration

LONG = text(
    "SELECT count(*) FROM (WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i FROM n)"
)


class Threads:
    """In place of a gateway's threads: notes where each call ran."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, call):
        self.calls += 1
        found = []

        def run():
            try:
                found.append((call(), None))
            except sqlite3.Error as error:
                found.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        ((value, error),) = found
        if error is not None:
            raise error
        return value


@pytest.fixture
def threads():
    return Threads()


@pytest.fixture
def file(tmp_path) -> Path:
    return sqlite_file(tmp_path)


@pytest.fixture
def engine(file, threads) -> Engine:
    engine = make_engine(f"sqlite:///{file}", in_thread=threads)
    yield engine
    engine.dispose()


def put_ann(engine: Engine) -> None:
    with session_factory(engine)() as session:
        put_users(session, {"ann": "Ann"})
        session.commit()


def test_a_small_read_stays_and_a_long_one_goes_to_a_thread(engine, threads):
    with engine.connect() as connection:
        before = threads.calls
        for _ in range(100):
            assert unknown_users(connection, ["ann"]) == {"ann"}
        assert threads.calls == before
        assert connection.scalar(LONG) == 1_000_000
        assert threads.calls == before + 1
        # It is as before for what comes next.
        assert unknown_users(connection, ["ann"]) == {"ann"}
        assert connection.scalar(LONG) == 1_000_000
        assert threads.calls == before + 2


def test_a_long_read_within_a_transaction_ends_it_not(engine):
    with session_factory(engine)() as session:
        put_users(session, {"ann": "Ann"})
        assert session.scalar(LONG) == 1_000_000
        session.commit()
    with engine.connect() as connection:
        assert unknown_users(connection, ["ann"]) == set()


def test_what_writes_goes_to_a_thread(engine, threads):
    put_ann(engine)
    before = threads.calls
    put_ann(engine)
    assert threads.calls > before


def test_a_lock_that_becomes_free_is_waited_for(engine, file, monkeypatch):
    attempts = []
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        def sleep(seconds):
            attempts.append(seconds)
            if len(attempts) == 3:
                writer.execute("ROLLBACK")

        monkeypatch.setattr("models.sql.sqlite.time.sleep", sleep)
        put_ann(engine)
    assert len(attempts) == 3


def test_a_lock_that_does_not_is_an_error_that_says_later(engine, file, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked") as caught:
            put_ann(engine)
        assert is_unavailable(caught.value)
        with pytest.raises(OperationalError, match="locked"):
            check_writes(session_factory(engine))
    put_ann(engine)
    check_writes(session_factory(engine))


def test_a_file_that_was_replaced_is_not_written_to_any_more(
    engine, file, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite, "FILE_CHECK", 0)
    put_ann(engine)
    reader = PersistentReader(engine)
    assert reader.read(lambda one: unknown_users(one, ["ann"])) == set()
    copy = tmp_path / "copy.db"
    command.upgrade(alembic_config(f"sqlite:///{copy}"), "head")
    for name in ("-wal", "-shm"):
        Path(f"{file}{name}").unlink(missing_ok=True)
    copy.replace(file)
    assert reader.read(lambda one: unknown_users(one, ["ann"])) == {"ann"}
    reader.close()
    for _ in range(2):  # the connections of before are dropped, all of them
        put_ann(engine)
    other = make_engine(f"sqlite:///{file}")
    with other.connect() as connection:
        assert unknown_users(connection, ["ann"]) == set()
    other.dispose()


def test_a_file_that_is_gone_is_an_error_of_sqlalchemy(
    engine, file, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite, "FILE_CHECK", 0)
    put_ann(engine)
    away = tmp_path / "away.db"
    Path(file).rename(away)
    # The first statement of a transaction is one of SQLAlchemy's own.
    with pytest.raises(OperationalError) as raised:
        put_ann(engine)
    assert is_unavailable(raised.value)
    away.rename(file)
    put_ann(engine)


def test_readiness_leaves_nothing_behind(engine, file):
    check_writes(session_factory(engine))
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT count(*) FROM users").fetchone() == (0,)
        assert other.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_gateway_goes_on_meanwhile(file, capfd):
    """With the threads that a gateway has, and no traceback of what fails in them."""
    engine = make_engine(f"sqlite:///{file}", in_thread=in_thread)
    ticks = []

    def tick():
        while True:
            ticks.append(len(ticks))
            gevent.sleep(0.001)

    with engine.connect() as connection:
        ticking = gevent.spawn(tick)
        assert connection.scalar(LONG) == 1_000_000
        assert len(ticks) > 5
        ticking.kill()
        with pytest.raises(OperationalError):
            connection.execute(text("INSERT INTO strangers VALUES (1)"))
    engine.dispose()
    assert capfd.readouterr().err == ""


def test_who_is_killed_waits_for_the_thread():
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        may_end.wait(10)
        ended.append(True)

    waiting = gevent.spawn(in_thread, work)
    gevent.sleep(0)
    begun.wait(10)
    gevent.spawn_later(0.1, may_end.set)
    waiting.kill()
    assert ended == [True]
