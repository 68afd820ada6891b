"""`last_seen` and the sessions of users in SQL: whatever the order of the writes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from models.recorded import RecordedTransition
from models.sql.last_seen import (
    LastSeenStart,
    hold_users,
    kept_since,
    newest_stored,
    put_last_seen,
    stored_last_seen,
)
from models.sql.sessions import (
    ROWS_AT_ONCE,
    UserSession,
    add_transitions,
    delete_all_sessions,
    delete_sessions,
    sessions_page,
    transition_table,
)
from models.sql.user import put_users

pytestmark = pytest.mark.integration

NOW = 1_900_000_000_000


def on(version, user="ann"):
    return RecordedTransition(user, version, online=True, last_seen=version)


def off(version, last_seen, user="ann"):
    return RecordedTransition(user, version, online=False, last_seen=last_seen)


@pytest.fixture
def people(session):
    put_users(session, {"ann": "Ann", "bob": "Bob"})
    session.commit()
    return session


def write(session, *transitions):
    held = hold_users(session, {one.user_id for one in transitions})
    known = [one for one in transitions if one.user_id in held]
    put_last_seen(session, known)
    add_transitions(session, known)
    session.commit()


def sessions(session, user="ann", since=0):
    return sessions_page(session, user, since, 0, 1000).items


def rows(session):
    return session.execute(select(transition_table)).all()


def test_a_session_lasts_from_the_transition_to_the_last_sign_of_life(people):
    write(people, on(1000), off(9000, 8000), on(20_000), off(20_500, 19_000))
    write(people, on(30_000))
    assert sessions(people) == [
        UserSession(1000, 8000),
        # Registered again by a gateway, and then never heard of.
        UserSession(20_000, 20_000),
        UserSession(30_000, None),
    ]
    assert sessions(people, "bob") == []


def test_the_newest_version_counts(people):
    write(people, off(9000, 8000))
    write(people, on(1000))
    assert newest_stored(people, ["ann", "bob", "who"]) == {"ann": off(9000, 8000)}
    write(people, on(10_000), off(12_000, 11_000), on(9500))
    assert newest_stored(people, ["ann"]) == {"ann": off(12_000, 11_000)}


def test_only_what_was_seen_since_the_migration_is_shown(people):
    since = kept_since(people)
    assert since > 1_700_000_000_000
    write(people, on(since - 1), on(since, "bob"))
    assert stored_last_seen(people, ["ann", "bob"]) == {"bob": on(since, "bob")}
    people.execute(delete(LastSeenStart))
    assert stored_last_seen(people, ["ann", "bob"]) == {}
    assert kept_since(people) > NOW


def test_unknown_users_are_not_held(people):
    assert hold_users(people, ["bob", "who", "ann"]) == {"ann", "bob"}


def test_a_deleted_user_takes_everything_along(people):
    write(people, on(1000), off(2000, 1500), on(1000, "bob"))
    people.execute(text("DELETE FROM users WHERE id = 'ann'"))
    people.commit()
    assert rows(people) == [("bob", 1000, True, 1000)]
    assert newest_stored(people, ["ann", "bob"]).keys() == {"bob"}


def test_since_leaves_out_what_was_over(people):
    write(people, on(1000), off(9000, 8000), on(20_000), off(31_000, 30_000))
    write(people, on(40_000))
    first, second, third = sessions(people)
    for since, found in (
        (8000, [first, second, third]),
        (8001, [second, third]),  # its end is before, its transition is not
        (9001, [second, third]),
        (30_000, [second, third]),
        (30_001, [third]),
        (NOW, [third]),
    ):
        assert sessions(people, since=since) == found, since


def test_pages(people):
    all_of_them = []
    for number in range(7):
        start = 1000 * number + 1
        write(people, on(start), on(start + 1), off(start + 500, start + 400))
        all_of_them.append(UserSession(start, start + 400))
    write(people, on(9000))
    all_of_them.append(UserSession(9000, None))
    for limit in (1, 2, 3, 8, 9):
        found, after = [], 0
        while after is not None:
            page = sessions_page(people, "ann", 0, after, limit)
            assert len(page.items) <= limit
            found += page.items
            after = page.next
        assert found == all_of_them, limit


def test_one_session_of_very_many_transitions(people):
    write(people, *map(on, range(1, 2 * ROWS_AT_ONCE + 2)))
    assert sessions(people) == [UserSession(1, None)]
    write(people, off(NOW, NOW - 1))
    assert sessions(people) == [UserSession(1, NOW - 1)]


def test_what_ended_long_ago_is_deleted_and_nothing_else(people):
    write(people, on(1000), on(1500), off(2000, 1900))  # over
    write(people, on(3000), off(9000, 8900))  # ends later
    write(people, on(1000, "bob"))  # lasts
    for _ in range(2):
        deleted = delete_sessions(people, 5000, limit=10)
        people.commit()
        assert sessions(people) == [UserSession(3000, 8900)]
        assert sessions(people, "bob") == [UserSession(1000, None)]
    assert deleted == 0
    assert delete_sessions(people, NOW, limit=10) == 1
    assert sessions(people) == []
    assert sessions(people, "bob") == [UserSession(1000, None)]


def test_old_sessions_are_deleted_in_bounded_steps(people):
    for number in range(10):
        write(people, on(100 * number + 1), off(100 * number + 50, 100 * number + 40))
    steps = []
    while deleted := delete_sessions(people, NOW, limit=4):
        steps.append(deleted)
        people.commit()
    assert steps == [4, 4, 2]
    assert rows(people) == []


def test_all_can_be_deleted(people):
    write(people, on(1000), off(2000, 1900), on(3000))
    assert [delete_all_sessions(people, 2) for _ in range(3)] == [2, 1, 0]
    assert rows(people) == []


@st.composite
def histories(draw):
    """The transitions of ann, and the order and the batches in which they come, some
    twice."""
    count = draw(st.integers(1, 12))
    states = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    made = [
        on(100 * n) if online else off(100 * n, 100 * n - draw(st.integers(0, 99)))
        for n, online in enumerate(states, start=1)
    ]
    again = draw(st.lists(st.sampled_from(made), max_size=4))
    order = draw(st.permutations(made + again))
    cuts = draw(st.lists(st.integers(0, len(order)), max_size=3))
    edges = [0, *sorted(cuts), len(order)]
    batches = [order[a:b] for a, b in pairwise(edges)]
    return made, [batch for batch in batches if batch]


def in_order(made):
    """The sessions of transitions, as DESIGN means them."""
    found, start = [], None
    for one in made:
        if one.online and start is None:
            start = one.version
        elif not one.online and start is not None:
            found.append(UserSession(start, max(start, one.last_seen)))
            start = None
    return found + ([UserSession(start, None)] if start is not None else [])


@given(histories())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_order_and_any_repetition_make_the_same_sessions(people: Session, history):
    made, batches = history
    people.execute(delete(transition_table))
    people.execute(text("DELETE FROM last_seen"))
    for batch in batches:
        write(people, *batch)
    assert sessions(people) == in_order(made)
    assert newest_stored(people, ["ann"]) == {"ann": made[-1]}
