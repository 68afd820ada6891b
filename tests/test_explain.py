"""The words about a pair agree with the rules that they explain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.explain import Pair, last_seen_rule, status_rule
from models.presence.inspection import connection_id, new_number, opened_at
from models.sql.friendship import FriendshipStatus
from models.sql.relation import Relation
from models.visibility import PresenceSettings, Visible, can_see

visible = st.sampled_from(Visible)
lists = st.frozensets(st.sampled_from(["bob", "cid"]))
choices = st.builds(
    lambda visibility, last_seen, always, never: PresenceSettings(
        visibility, last_seen, always=always - never, never=never
    ),
    visible,
    visible,
    lists,
    lists,
)
relations = st.builds(
    Relation, st.sampled_from([None, *FriendshipStatus]), st.booleans()
)
pairs = st.builds(
    Pair,
    st.just("ann"),
    st.just("bob"),
    relations,
    choices,
    visible,
    may_hide=st.booleans(),
)


def sees(pair: Pair) -> bool:
    settings = pair.settings
    if not pair.may_hide:
        # PRESENCE_ALLOW_INVISIBLE=0 ignores what makes a user invisible.
        if settings.visibility is Visible.NOBODY:
            settings = replace(settings, visibility=Visible.EVERYONE)
        settings = replace(settings, never=frozenset())
    return can_see("bob", is_friend=pair.relation.is_friend, settings=settings)


@given(pairs)
def test_the_rule_in_words_agrees_with_can_see(pair):
    rule = status_rule(pair)
    assert rule.allows == (pair.relation.is_relevant and sees(pair))
    assert "ann" in rule.words


DECIDED = [
    (PresenceSettings(), "ann's visibility is everyone"),
    (PresenceSettings(visibility=Visible.FRIENDS), "ann's visibility is friends"),
    (PresenceSettings(visibility=Visible.NOBODY), "nobody: ann is invisible"),
    (PresenceSettings(never=frozenset({"bob"})), "ann has bob in the list never"),
    (
        PresenceSettings(Visible.NOBODY, always=frozenset({"bob"})),
        "ann has bob in the list always",
    ),
]


@pytest.mark.parametrize(("settings", "words"), DECIDED)
def test_the_words_name_what_decides(settings, words):
    friends = Relation(FriendshipStatus.ACCEPTED)
    pair = Pair("ann", "bob", friends, settings, Visible.EVERYONE, may_hide=True)
    both = "ann and bob are friends, and "
    assert status_rule(pair).words.startswith(both)
    assert status_rule(pair).words.endswith(words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PresenceSettings(visibility=Visible.NOBODY), "lets nobody hide"),
        (PresenceSettings(never=frozenset({"bob"})), "the list never does not count"),
    ],
)
def test_where_nobody_may_hide_the_words_say_so(settings, words):
    friends = Relation(FriendshipStatus.ACCEPTED)
    pair = Pair("ann", "bob", friends, settings, Visible.EVERYONE, may_hide=False)
    assert status_rule(pair).allows
    assert words in status_rule(pair).words


@given(pairs)
def test_last_seen_needs_both_settings(pair):
    def admits(chosen: Visible) -> bool:
        return chosen is Visible.EVERYONE or (
            chosen is Visible.FRIENDS and pair.relation.is_friend
        )

    rule = last_seen_rule(pair)
    assert rule.allows == (
        admits(pair.settings.last_seen) and admits(pair.own_last_seen)
    )
    if not rule.allows:
        whose = "bob" if admits(pair.settings.last_seen) else "ann"
        assert rule.words.startswith(f"hidden by the setting of {whose}:")


@given(st.lists(st.integers(1_500_000_000_000, 3_000_000_000_000), min_size=1))
def test_connection_ids_differ_and_say_when_they_were_made(times):
    numbers, last = [], 0
    for now in times:
        last = new_number(last, now)
        assert last >= now
        numbers.append(last)
    ids = {connection_id("web.1:aa-v4", number) for number in numbers}
    assert len(ids) == len(times)
    assert {opened_at(one) for one in ids} == set(numbers)


@pytest.mark.parametrize(
    "text", ["web.1:aa-v4:17", "web.1:aa-v4:x", "", "g:-5", "g:" + "f" * 20]
)
def test_other_ids_say_nothing(text):
    assert opened_at(text) is None
