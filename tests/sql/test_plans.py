"""The hot queries use the indexes: what they cost follows what is asked, not what is
stored."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

import models.sql.postgresql
from models.sql import audience, graph_rows, pages, presence_settings, visibility
from models.sql.sql_arrays import PairList, TextList
from models.sql.statements import Statement

pytestmark = pytest.mark.integration

ONE = {"user_id": "user-100007"}
PAGE = {"after": "user-100007", "count": 101}
MANY = {"ids": [f"user-{100_000 + i}" for i in range(20)]}
HOT = {
    "relevant users": (audience._RELEVANT.to_many, MANY),
    "relevant users, one": (audience._RELEVANT.to_one, ONE),
    "relevant pairs": (
        Statement(audience._RELEVANT_PAIRS),
        {"pairs": [("user-100001", "user-100038")]},
    ),
    "friends": (audience._FRIENDS.to_many, MANY),
    "friends, one": (audience._FRIENDS.to_one, ONE),
    "friendships, one": (graph_rows._FRIENDSHIPS, ONE),
    "users in pages": (Statement(pages._USERS), PAGE),
    "sizes of conversations in pages": (Statement(pages._SIZES), PAGE),
    "conversations in pages": (
        Statement(pages._CONVERSATIONS),
        {"after": "c100", "last": "c1009"},
    ),
    "partners": (audience._PARTNERS.to_many, MANY),
    "partners, one": (audience._PARTNERS.to_one, ONE),
    "participants": (audience._PARTICIPANTS, {"conversation_id": "c7"}),
    "users with settings": (audience._WITH_SETTINGS, MANY),
    "layers of users with settings": (presence_settings._LAYERS, MANY),
    "views of viewers": (visibility._OF_VIEWERS, {**MANY, "may_hide": 1}),
    "views of one viewer": (
        visibility._OF_VIEWERS,
        {"ids": ["user-100007"], "may_hide": 1},
    ),
    "views of users": (visibility._OF_USERS, {**MANY, "may_hide": 1}),
}


# 20,000 users with 20 friendships each, in 25,000 conversations of four: enough that
# PostgreSQL finds an index cheaper than reading the whole table. Made in SQL, which
# takes a second where `load_bulk` would compute what changed for everybody.
LARGE_GRAPH = [
    """
    INSERT INTO users (id, display_name)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
    SELECT 'user-' || (100000 + i), 'Somebody' FROM n
    """,
    """
    INSERT INTO friendships (user_a, user_b, status)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999),
        k(j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM k WHERE j < 10),
        pairs(i, j, other) AS (SELECT i, j, (i + j * j * 37) % 20000 FROM n, k)
    SELECT 'user-' || (100000 + CASE WHEN i < other THEN i ELSE other END),
        'user-' || (100000 + CASE WHEN i < other THEN other ELSE i END),
        CASE (i + j) % 20 WHEN 0 THEN 'blocked' WHEN 1 THEN 'pending'
            ELSE 'accepted' END
    FROM pairs WHERE i <> other ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO conversations (id, title)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 24999)
    SELECT 'c' || i, '' FROM n
    """,
    """
    INSERT INTO participants (conversation_id, user_id)
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 24999),
        k(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j < 3)
    SELECT 'c' || i, 'user-' || (100000 + (i * 13 + j * 4001) % 20000) FROM n, k
    """,
    # All have settings, and a tenth of them have 50 exceptions each.
    """
    INSERT INTO presence_settings (user_id, visibility)
    SELECT id, 'friends' FROM users
    """,
    """
    INSERT INTO presence_exceptions (user_id, viewer_id, kind)
    WITH RECURSIVE k(j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM k WHERE j < 50)
    SELECT user_id, 'user-' || (100000 + j * 300), 'always'
    FROM presence_settings, k WHERE user_id LIKE '%7'
    """,
    """
    INSERT INTO frozen_statuses (user_id, viewer_id, timestamp)
    SELECT user_id, viewer_id, 1 FROM presence_exceptions
    """,
]


@pytest.fixture
def large_graph(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    # To make it may take longer than any answer that Greendot waits for.
    monkeypatch.setattr(models.sql.postgresql, "ANSWER_TIMEOUT_SECONDS", 300.0)
    # The rows are right. To look up half a million foreign keys takes most of the time.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL session_replication_role = replica"))
    for statement in LARGE_GRAPH:
        session.execute(text(statement))
    session.commit()


@pytest.mark.usefixtures("large_graph")
def test_no_hot_query_scans_a_table(engine: Engine, session: Session):
    if engine.dialect.name == "sqlite":  # which nobody analyzes: so it must plan well
        for name, lines in plans(session):
            scans = [line for line in lines if scans_a_table(line, "sqlite")]
            assert scans == [], f"{name}:\n" + "\n".join(lines)
    session.execute(text("ANALYZE"))  # PostgreSQL does this by itself after a while
    session.commit()
    for name, lines in plans(session):
        scans = [line for line in lines if scans_a_table(line, engine.dialect.name)]
        if name == "views of viewers":
            # PostgreSQL reads the settings once where many are asked of a small table.
            scans = [line for line in scans if "on presence_settings" not in line]
        assert scans == [], f"{name}:\n" + "\n".join(lines)
        tables = ("friendships", "participants", "presence_settings", "users")
        assert any(table in line for table in tables for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("large_graph")
def test_a_full_batch_uses_the_indexes_of_friendships(session: Session):
    session.execute(text("ANALYZE"))
    statement, _ = HOT["relevant users"]
    batch = {"ids": [f"user-{100_000 + number}" for number in range(500)]}
    plan = "\n".join(explain(session, statement, batch))
    assert not re.search(r"Seq Scan on friendships|SCAN friendships", plan), plan
    relevant = audience.relevant_users(session, batch["ids"])
    assert all(len(others) > 10 for others in relevant.values())


def plans(session: Session):
    for name, (statement, values) in HOT.items():
        yield name, explain(session, statement, values)


def explain(session: Session, statement: Statement, values) -> list[str]:
    """The plan's lines for the very text that the application sends."""
    dialect = session.get_bind().dialect
    compiled = statement.select.compile(dialect=dialect)
    sql = str(compiled)
    bound = compiled.construct_params(values)
    kinds = {"ids": TextList(), "pairs": PairList()}
    bound = {
        key: kinds[key].process_bind_param(value, dialect) if key in kinds else value
        for key, value in bound.items()
    }
    connection = session.connection()
    if dialect.name == "postgresql":
        rows = connection.exec_driver_sql(f"EXPLAIN {sql}", bound)
        return [row[0] for row in rows]
    positional = tuple(bound[key] for key in compiled.positiontup)
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", positional)
    return [row[3] for row in rows]


def scans_a_table(line: str, dialect: str) -> bool:
    if dialect == "postgresql":
        return re.search(r"Seq Scan on (?!unnest|.* anybody)", line) is not None
    # `SCAN x VIRTUAL TABLE` is the list of ids itself, and a numbered subquery is a
    # part of the statement. `anybody` ends at its first row.
    known = r"\S+ VIRTUAL TABLE|\(?subquery|anon_|anybody|CONSTANT ROW"
    return re.match(rf"SCAN (?!{known})", line) is not None


def test_a_list_of_any_length_is_one_bind_value(session: Session):
    dialect = session.get_bind().dialect
    short = str(audience._RELEVANT.to_many.select.compile(dialect=dialect))
    assert short.count("'accepted'") == 2
    value = TextList().process_bind_param(["a", "b"], dialect)
    assert value == (["a", "b"] if dialect.name == "postgresql" else '["a", "b"]')
    assert json.loads(PairList().process_bind_param([("a", "b")], dialect)) == [
        ["a", "b"]
    ]
