"""Who may see whom, in SQL: on random graphs the same as the rule in Python."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from models.sql import graph, visibility
from models.sql.audience import relevant_users, users_with_settings
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph import ConversationRecord
from models.sql.presence_settings import (
    StoredSettings,
    layers_of,
    put_frozen,
    put_settings,
    read_settings,
    remove_frozen,
)
from models.visibility import (
    Frozen,
    FrozenByGroup,
    PresenceSettings,
    Visible,
    can_see,
)

pytestmark = pytest.mark.integration

PEOPLE = ["ann", "bob", "cid", "Zoe", "a-1"]
PAIRS = list(combinations(sorted(PEOPLE), 2))


@pytest.fixture
def people(session: Session) -> None:
    graph.load_bulk(session, {name: name for name in PEOPLE})
    session.commit()


ids = st.frozensets(st.sampled_from(PEOPLE), max_size=3)
choices = st.builds(
    lambda visibility, last_seen, always, never: PresenceSettings(
        visibility, last_seen, always - never, never
    ),
    st.sampled_from(Visible),
    st.sampled_from(Visible),
    ids,
    ids,
)


@given(
    friendships=st.dictionaries(
        st.sampled_from(PAIRS), st.sampled_from(FriendshipStatus)
    ),
    conversations=st.lists(
        st.frozensets(st.sampled_from(PEOPLE), min_size=2), max_size=3
    ),
    chosen=st.dictionaries(st.sampled_from(PEOPLE), choices),
    may_hide=st.booleans(),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.usefixtures("people")
def test_the_rule_in_sql_is_the_rule_in_python(
    session, friendships, conversations, chosen, may_hide
):
    session.rollback()
    graph.load_bulk(
        session,
        {},
        [(*pair, status) for pair, status in friendships.items()],
        [
            ConversationRecord(f"c{number}", "", members)
            for number, members in enumerate(conversations)
        ],
    )
    for user_id, choice in chosen.items():
        put_settings(session, user_id, choice)
        assert read_settings(session, user_id) == choice
    relevant = relevant_users(session, PEOPLE)
    friends = {
        pair
        for pair, status in friendships.items()
        if status is FriendshipStatus.ACCEPTED
    }
    expected = {}
    for viewer, user_id in permutations(PEOPLE, 2):
        if viewer not in relevant[user_id] or user_id not in chosen:
            continue
        is_friend = canonical(viewer, user_id) in friends
        choice = chosen[user_id]
        if not may_hide:
            visibility_then = (
                Visible.EVERYONE
                if choice.visibility is Visible.NOBODY
                else choice.visibility
            )
            choice = PresenceSettings(visibility_then, choice.last_seen, choice.always)
        shows_last_seen = choice.last_seen is Visible.EVERYONE or (
            choice.last_seen is Visible.FRIENDS and is_friend
        )
        expected[viewer, user_id] = (
            is_friend,
            can_see(viewer, is_friend=is_friend, settings=choice),
            shows_last_seen,
        )

    views = visibility.views_of_viewers(session, PEOPLE, may_hide=may_hide)
    found = [view for of_viewer in views.of.values() for view in of_viewer.values()]
    assert as_dict(found) == expected
    assert views.last_seen == {key: choice.last_seen for key, choice in chosen.items()}
    of_users = [
        view
        for user_id in PEOPLE
        for view in visibility.views_of_user(session, user_id, (), may_hide=may_hide)
    ]
    assert len(of_users) == len(expected)
    assert as_dict(of_users) == expected
    assert users_with_settings(session, PEOPLE) == set(chosen)
    assert layers_of(session, PEOPLE).keys() == set(chosen)
    visible = visibility.viewers_of(session, chosen, may_hide=may_hide)
    assert visible == {
        user_id: {
            viewer: 0
            for (viewer, seen), (_, is_visible, _) in expected.items()
            if seen == user_id and is_visible
        }
        for user_id in chosen
    }
    session.rollback()


def as_dict(views):
    return {
        (view.viewer, view.user_id): (
            view.is_friend,
            view.is_visible,
            view.shows_last_seen,
        )
        for view in views
    }


@pytest.mark.usefixtures("people")
def test_what_is_frozen_for_a_viewer_comes_before_what_is_frozen_for_all(session):
    graph.load_bulk(
        session,
        {},
        [("ann", "bob", FriendshipStatus.ACCEPTED)],
        [ConversationRecord("c", "", frozenset({"ann", "bob", "cid"}))],
    )
    put_settings(session, "ann", PresenceSettings(Visible.NOBODY))
    by_group = FrozenByGroup(Frozen(1, None), Frozen(2, 3, 4))
    session.get_one(StoredSettings, "ann").frozen_by_group = by_group
    session.flush()

    def frozen():
        views = visibility.views_of_user(session, "ann", (), may_hide=True)
        return {view.viewer: view.frozen for view in views}

    assert frozen() == {"bob": Frozen(1, None), "cid": Frozen(2, 3, 4)}
    put_frozen(session, "ann", {"bob": Frozen(0, None, 7), "cid": Frozen(8, 9)})
    assert frozen() == {"bob": Frozen(0, None, 7), "cid": Frozen(8, 9)}
    put_frozen(session, "ann", {"bob": Frozen(5, 5)})
    remove_frozen(session, "ann", {"cid"})
    assert frozen() == {"bob": Frozen(5, 5), "cid": Frozen(2, 3, 4)}
    session.expire_all()
    assert session.get_one(StoredSettings, "ann").frozen_by_group == by_group


@pytest.mark.usefixtures("people")
def test_a_change_of_friendships_says_who_sees_whom_differently(session):
    graph.put_conversation(session, "c", "", ["ann", "bob"])
    put_settings(session, "ann", PresenceSettings(Visible.FRIENDS))
    change = graph.put_friendship(session, "bob", "ann", FriendshipStatus.ACCEPTED)
    assert not change.gained
    assert [view.is_visible for view in change.before] == [False]
    assert [view.is_visible for view in change.after] == [True]
    change = graph.delete_friendship(session, "ann", "bob")
    assert [view.is_visible for view in change.before] == [True]
    assert [view.is_visible for view in change.after] == [False]
