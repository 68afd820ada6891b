"""Statements that go to the driver as text: the same rows as by the library, and the
library's errors. And a connection that is kept notices that it has died."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.sql import audience, graph
from models.sql.db import PersistentReader, make_engine
from models.sql.friendship import Friendship, FriendshipStatus
from models.sql.graph import ConversationRecord
from models.sql.statements import Statement
from tests.databases import empty_postgresql

pytestmark = pytest.mark.integration

PEOPLE = ("ann", "bob", "cid", "Zoe")


@pytest.fixture
def people(session: Session) -> None:
    """Ann is bob's friend and in a conversation with Zoe; cid knows nobody."""
    graph.load_bulk(
        session,
        {name: name for name in PEOPLE},
        [("ann", "bob", FriendshipStatus.ACCEPTED)],
        [ConversationRecord("c", "", frozenset({"ann", "Zoe"}))],
    )
    session.commit()


@pytest.mark.usefixtures("people")
def test_a_plain_connection_reads_what_a_session_reads(engine, session):
    with engine.connect() as connection:
        for asked in ([], ["ann"], ["nobody"], [*PEOPLE, "nobody"]):
            by_session = audience.relevant_users(session, asked)
            assert audience.relevant_users(connection, asked) == by_session
        assert audience.relevant_users(connection, ["ann"]) == {"ann": {"bob", "Zoe"}}
        assert audience.friends_of(connection, ["ann"]) == {"ann": {"bob"}}
        assert audience.partners_of(connection, ["ann"]) == {"ann": {"Zoe"}}
        assert audience.participants_of(connection, "c") == {"ann", "Zoe"}
        assert audience.participants_of(connection, "none") is None


@pytest.mark.usefixtures("people")
def test_a_session_reads_what_it_has_not_written_yet(session):
    session.add(Friendship(user_a="bob", user_b="cid", status="accepted"))
    assert audience.friends_of(session, ["cid"]) == {"cid": {"bob"}}


@pytest.mark.usefixtures("people")
def test_what_the_database_refuses_is_an_error_of_the_library(engine, session):
    session.execute(text("DROP TABLE participants"))
    session.commit()
    with engine.connect() as connection:
        for _ in range(2):
            with pytest.raises(DBAPIError, match="participants"):
                audience.relevant_users(connection, ["ann"])
        assert audience.friends_of(connection, ["ann"]) == {"ann": {"bob"}}


@pytest.mark.usefixtures("people")
def test_a_kept_connection_is_one_and_is_given_back(engine: Engine):
    with closing(PersistentReader(engine)) as reader:
        used = [reader.read(lambda connection: connection) for _ in range(2)]
        assert used[0] is used[1]
        assert engine.pool.checkedout() == 1
        assert reader.read(lambda it: audience.friends_of(it, ["ann"])) == {
            "ann": {"bob"}
        }
    assert engine.pool.checkedout() == 0


def test_a_database_that_was_restarted_costs_nobody_an_error():
    number = Statement(select(func.pg_backend_pid()))
    with empty_postgresql() as url:
        engine = make_engine(url)
        with closing(PersistentReader(engine)) as reader:
            ((killed,),) = reader.read(lambda it: number.rows(it, {}))
            with engine.connect() as other:
                other.execute(text(f"SELECT pg_terminate_backend({killed})"))
            ((new,),) = reader.read(lambda it: number.rows(it, {}))
            assert new != killed
            assert reader.read(lambda it: number.rows(it, {})) == [(new,)]
        engine.dispose()


@pytest.mark.usefixtures("people")
def test_an_error_of_the_work_is_not_tried_again(engine: Engine):
    calls = []

    def work(connection):
        calls.append(connection)
        connection.execute(text("SELECT nonsense"))

    with closing(PersistentReader(engine)) as reader:
        reader.read(lambda connection: connection.execute(text("SELECT 1")))
        with pytest.raises(DBAPIError, match="nonsense"):
            reader.read(work)
        assert len(calls) == 1
        assert reader.read(lambda it: audience.friends_of(it, ["ann"])) == {
            "ann": {"bob"}
        }


@pytest.mark.usefixtures("people")
def test_what_was_stopped_in_the_midst_leaves_its_answer_to_nobody(engine: Engine):
    used = []

    def work(connection):
        used.append(connection.connection.dbapi_connection)
        if len(used) == 1:
            raise SystemExit
        return audience.friends_of(connection, ["ann"])

    with closing(PersistentReader(engine)) as reader:
        with pytest.raises(SystemExit):
            reader.read(work)
        assert reader.read(work) == {"ann": {"bob"}}
        assert used[0] is not used[1]
        assert engine.pool.checkedout() == 1
