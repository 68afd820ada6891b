"""Who is relevant to whom: the rules one by one, then all of them on random graphs."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from models.sql import audience, graph
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph import ConversationRecord
from models.sql.user import user_table
from tests.databases import statements

pytestmark = pytest.mark.integration

ACCEPTED = FriendshipStatus.ACCEPTED
PENDING = FriendshipStatus.PENDING
BLOCKED = FriendshipStatus.BLOCKED
# In every order of characters that a collation may invert: case, digits, signs.
PEOPLE = ["ann", "bob", "cid", "Zoe", "a-1", "a_1", "9@x.org"]


@pytest.fixture
def people(session: Session) -> list[str]:
    graph.load_bulk(session, {name: name for name in PEOPLE})
    session.commit()
    return PEOPLE


def talk(session: Session, key: str, *members: str) -> None:
    graph.put_conversation(session, key, "", members)


@pytest.mark.usefixtures("people")
def test_friends_see_each_other_whoever_is_stored_first(session):
    for one, other in (("ann", "bob"), ("cid", "ann"), ("ann", "Zoe"), ("a_1", "ann")):
        graph.put_friendship(session, one, other, ACCEPTED)

    assert audience.friends_of(session, ["ann"]) == {
        "ann": {"bob", "cid", "Zoe", "a_1"}
    }
    for friend in ("bob", "cid", "Zoe", "a_1"):
        assert audience.friends_of(session, [friend]) == {friend: {"ann"}}
        assert audience.relevant_users(session, [friend]) == {friend: {"ann"}}


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("status", [PENDING, BLOCKED])
def test_only_accepted_friendships_count(session, status):
    graph.put_friendship(session, "ann", "bob", status)

    assert audience.friends_of(session, ["ann"]) == {"ann": set()}
    assert audience.relevant_users(session, ["ann", "bob"]) == {
        "ann": set(),
        "bob": set(),
    }


@pytest.mark.usefixtures("people")
def test_conversation_partners_see_each_other_and_nobody_sees_oneself(session):
    talk(session, "c1", "ann", "bob", "cid")
    talk(session, "c2", "cid", "Zoe")
    talk(session, "alone", "a-1")

    assert audience.partners_of(session, ["ann"]) == {"ann": {"bob", "cid"}}
    assert audience.partners_of(session, ["cid"]) == {"cid": {"ann", "bob", "Zoe"}}
    assert audience.partners_of(session, ["a-1"]) == {"a-1": set()}
    assert audience.relevant_users(session, PEOPLE) == {
        "ann": {"bob", "cid"},
        "bob": {"ann", "cid"},
        "cid": {"ann", "bob", "Zoe"},
        "Zoe": {"cid"},
        "a-1": set(),
        "a_1": set(),
        "9@x.org": set(),
    }


@pytest.mark.usefixtures("people")
def test_a_blocked_pair_is_hidden_in_a_shared_conversation_both_ways(session):
    talk(session, "c1", "ann", "bob", "cid")
    graph.put_friendship(session, "bob", "ann", BLOCKED)

    assert audience.partners_of(session, ["ann"]) == {"ann": {"cid"}}
    assert audience.partners_of(session, ["bob"]) == {"bob": {"cid"}}
    relevant = audience.relevant_users(session, ["ann", "bob", "cid"])
    assert relevant == {"ann": {"cid"}, "bob": {"cid"}, "cid": {"ann", "bob"}}
    # Blocked pairs are in the conversation all the same.
    assert audience.participants_of(session, "c1") == {"ann", "bob", "cid"}


@pytest.mark.usefixtures("people")
def test_a_pending_friendship_hides_no_conversation_partner(session):
    talk(session, "c1", "ann", "bob")
    graph.put_friendship(session, "bob", "ann", PENDING)

    assert audience.relevant_users(session, ["ann"]) == {"ann": {"bob"}}


@pytest.mark.usefixtures("people")
def test_many_relations_to_the_same_user_are_a_row_a_kind(session):
    graph.put_friendship(session, "ann", "bob", ACCEPTED)
    for number in range(5):
        talk(session, f"c{number}", "ann", "bob")
    session.commit()

    of_many = audience._RELEVANT.to_many.rows(session, {"ids": ["ann"]})
    of_one = audience._RELEVANT.to_one.rows(session, {"user_id": "ann"})
    for rows in (of_many, of_one):
        assert [tuple(row) for row in rows] == [
            ("ann", "bob"),
            ("ann", "bob"),
        ]
    assert audience.audiences(session, ["ann", "cid"]) == {"ann": "bob,bob", "cid": ""}
    assert audience.relevant_users(session, ["ann"]) == {"ann": {"bob"}}
    assert audience.partners_of(session, ["ann"]) == {"ann": {"bob"}}


def test_participants_of_tells_an_empty_conversation_from_none(session):
    talk(session, "empty")

    assert audience.participants_of(session, "empty") == set()
    assert audience.participants_of(session, "missing") is None


@pytest.mark.usefixtures("people")
def test_the_audience_of_many_users_is_one_statement(session: Session, engine: Engine):
    graph.put_friendship(session, "ann", "bob", ACCEPTED)
    talk(session, "c", "ann", "Zoe")
    session.commit()

    # More ids than SQLite has bind variables (32,766), and unknown ones among them.
    asked = [*PEOPLE, *(f"unknown-{number}" for number in range(40_000))]
    with statements(engine) as sent:
        relevant = audience.relevant_users(session, asked)

    assert len(sent) == 1
    assert relevant.keys() == set(asked)
    assert relevant["ann"] == {"bob", "Zoe"}
    assert relevant["unknown-39999"] == set()


def test_nobody_asked_is_nothing_sent(session, engine):
    with statements(engine) as sent:
        assert audience.relevant_users(session, []) == {}
        assert audience.relevant_pairs(session, []) == set()
    assert sent == []


users = st.sampled_from(PEOPLE)
friendship = st.tuples(users, users, st.sampled_from(FriendshipStatus)).filter(
    lambda entry: entry[0] != entry[1]
)
random_graph = st.tuples(
    st.lists(friendship, max_size=15),
    st.lists(st.frozensets(users), max_size=5),
)


@pytest.mark.usefixtures("people")
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(old=random_graph, new=random_graph)
def test_random_graphs_agree_with_a_plain_model(session, old, new):
    """The SQL, and what each write says it changed, against a few lines of Python."""
    before = fill(session, *old)
    check(session, before)

    friendships, conversations = new
    change = graph.GraphChange()
    for one, other, status in friendships:
        change = change.combined_with(graph.put_friendship(session, one, other, status))
    for number in range(5):  # every old one is replaced or deleted
        if number < len(conversations):
            done = graph.put_conversation(
                session, f"c{number}", "", conversations[number]
            )
        else:
            done = graph.delete_conversation(session, f"c{number}")
        change = change.combined_with(done)
    after = model([*old[0], *friendships], conversations)
    check(session, after)
    assert change == graph.GraphChange(
        frozenset(after - before), frozenset(before - after)
    )

    gone = graph.GraphChange()
    for user_id in PEOPLE:
        gone = gone.combined_with(graph.delete_user(session, user_id))
    assert gone == graph.GraphChange(lost=frozenset(after))
    session.rollback()


def fill(session, friendships, conversations):
    """Load a graph in one call; returns the pairs that the model finds relevant."""
    records = [
        ConversationRecord(f"c{number}", "", members)
        for number, members in enumerate(conversations)
    ]
    change = graph.load_bulk(session, {}, friendships, records)
    relevant = model(friendships, conversations)
    assert change == graph.GraphChange(gained=frozenset(relevant))
    return relevant


def model(friendships, conversations):
    """The definition of relevance, in Python."""
    status = {canonical(one, other): each for one, other, each in friendships}
    relevant = {pair for pair, each in status.items() if each is ACCEPTED}
    for members in conversations:
        relevant |= set(combinations(sorted(members), 2))
    return {pair for pair in relevant if status.get(pair) is not BLOCKED}


def check(session, relevant):
    """Every reading function agrees with these pairs."""
    expected = {user_id: set() for user_id in PEOPLE}
    for one, other in relevant:
        expected[one].add(other)
        expected[other].add(one)
    assert audience.relevant_users(session, PEOPLE) == expected
    everybody = set(combinations(sorted(PEOPLE), 2))
    assert audience.relevant_pairs(session, everybody) == relevant
    for user_id in PEOPLE:
        friends = audience.friends_of(session, [user_id])[user_id]
        partners = audience.partners_of(session, [user_id])[user_id]
        assert friends | partners == expected[user_id]
    assert session.query(user_table).count() == len(PEOPLE)
