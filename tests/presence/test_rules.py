"""The pure decisions: what a process decides by itself, given `now`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import Transition
from models.presence.rules import (
    age_ms,
    is_expired,
    is_silent,
    newest_per_user,
    retry_delay,
)

transitions = st.builds(
    Transition,
    st.sampled_from(["ann", "bob", "cid"]),
    st.sampled_from(["online", "offline"]),
    st.integers(0, 50),
)

calm = settings(deadline=None, max_examples=50)
"""A busy machine is no failure."""


def test_newest_per_user_keeps_the_order_of_first_appearance():
    ann1, bob, ann2 = (
        Transition("ann", "online", 1),
        Transition("bob", "online", 2),
        Transition("ann", "offline", 3),
    )
    assert newest_per_user([ann1, bob, ann2]) == [ann2, bob]
    assert newest_per_user([ann2, bob, ann1]) == [ann2, bob]
    assert newest_per_user([]) == []


def test_of_equal_timestamps_the_first_counts():
    first = Transition("ann", "online", 1)
    assert newest_per_user([first, Transition("ann", "offline", 1)]) == [first]


@calm
@given(st.lists(transitions))
def test_newest_per_user_says_of_each_user_the_newest_once(many):
    kept = newest_per_user(iter(many))
    assert [one.user_id for one in kept] == list(
        dict.fromkeys(one.user_id for one in many)
    )
    for one in kept:
        assert one in many
        assert one.timestamp == max(
            other.timestamp for other in many if other.user_id == one.user_id
        )


@pytest.mark.parametrize(
    ("now", "silent"), [(100, False), (159.9, False), (160, True), (500, True)]
)
def test_silence(now, silent):
    assert is_silent(100, now, online_ttl=60) is silent


@pytest.mark.parametrize(
    ("expires_at", "expired"),
    [(None, False), (99.9, True), (100, True), (100.1, False)],
)
def test_expiry_of_a_token(expires_at, expired):
    assert is_expired(expires_at, 100) is expired


@pytest.mark.parametrize(
    ("then", "now", "age"),
    [
        (10, 10, 0),
        (10, 10.0015, 1),
        (10, 12, 2000),
        (10, 9, 0),
        (10, 1000, 59_999),
    ],
)
def test_age(then, now, age):
    assert age_ms(then, now, online_ttl=60) == age


@calm
@given(
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.floats(0.001, 1e6),
)
def test_age_is_never_negative_and_always_short_of_the_ttl(then, now, online_ttl):
    assert 0 <= age_ms(then, now, online_ttl) < max(1, online_ttl * 1000)


def test_retries_wait_longer_up_to_a_bound():
    for failures, least, most in [(0, 0.025, 0.05), (1, 0.05, 0.1), (3, 0.2, 0.4)]:
        delays = {retry_delay(failures) for _ in range(50)}
        assert all(least <= delay <= most for delay in delays)
        assert len(delays) > 1, "without jitter all would come back at once"
    assert all(0.5 <= retry_delay(n) <= 1.0 for n in (5, 50, 10**6))
