"""A PostgreSQL that does not answer costs a process seconds, not its life."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models.sql import postgresql
from models.sql.db import make_engine, session_factory
from tests.databases import empty_postgresql

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(postgresql, "ANSWER_TIMEOUT_SECONDS", 0.5)
    with empty_postgresql() as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


def test_an_answer_that_does_not_come_is_an_error_and_the_next_one_comes(engine):
    # Found by `make chaos`: over a half-open line a drainer waited forever.
    sessions = session_factory(engine)
    began = time.monotonic()
    message = r"no answer for 0\.5 s"
    with pytest.raises(OperationalError, match=message), sessions() as session:
        session.execute(text("SELECT pg_sleep(20)"))
    assert 0.4 < time.monotonic() - began < 10
    with sessions() as session:
        assert session.scalar(text("SELECT 1")) == 1
    assert engine.pool.checkedout() == 0


def test_a_migration_may_take_its_time(monkeypatch):
    monkeypatch.setattr(postgresql, "ANSWER_TIMEOUT_SECONDS", 0.2)
    with empty_postgresql() as url:
        engine = make_engine(url, may_be_slow=True)
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_sleep(0.6)"))
        engine.dispose()
