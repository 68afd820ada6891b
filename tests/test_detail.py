"""Availability, text and emoji: which layer is shown, until when, and since when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detail import (
    NO_LAYERS,
    NOTHING_SET,
    Layer,
    Layers,
    detail_of,
    shows_activity,
)
from models.emoji import is_emoji
from models.events import Activity, Availability, Detail, UserStatus

AWAY, DND, ACTIVE = Availability.AWAY, Availability.DND, Availability.ACTIVE
NOW = 1_000_000


def online(**fields):
    values = {"online": True, "updated_at": 500, "last_seen": 900, **fields}
    return UserStatus("ann", **values)


def test_without_layers_a_user_is_active_since_coming_online():
    assert detail_of(online(), NO_LAYERS, NOW) == Detail(ACTIVE, None, None, None, 500)
    assert detail_of(online(), NO_LAYERS, NOW) == Detail.plain(500)


def test_an_idle_user_is_away_and_then_active_since_the_return():
    idle = online(activity=Activity(idle_since=700))
    assert detail_of(idle, NO_LAYERS, NOW) == Detail(AWAY, None, None, None, 700)
    back = online(activity=Activity(active_since=800))
    assert detail_of(back, NO_LAYERS, NOW) == Detail.plain(800)


def test_offline_has_no_detail():
    layers = Layers(manual=Layer(DND, "busy", since=1))
    assert detail_of(online(online=False), layers, NOW) is None


def test_manual_wins_over_host_and_host_over_activity():
    idle = online(activity=Activity(idle_since=700))
    host = Layer(DND, "in a call", "📞", since=600)
    shown = detail_of(idle, Layers(host=host), NOW)
    assert shown == Detail(DND, "in a call", "📞", None, 600)
    manual = Layer(AWAY, since=650)
    shown = detail_of(idle, Layers(manual, host), NOW)
    # Each field comes from the highest layer that has it.
    assert shown == Detail(AWAY, "in a call", "📞", None, 650)


def test_only_shown_layers_count_for_the_end():
    manual = Layer(DND, since=1, expires_at=NOW + 50)
    host = Layer(AWAY, since=2, expires_at=NOW + 20)
    assert detail_of(online(), Layers(manual, host), NOW).expires_at == NOW + 50
    with_text = host._replace(text="back soon")
    assert detail_of(online(), Layers(manual, with_text), NOW).expires_at == NOW + 20


def test_a_layer_that_has_ended_shows_the_one_below():
    manual = Layer(DND, "busy", since=1, expires_at=NOW)
    host = Layer(AWAY, since=2)
    assert detail_of(online(), Layers(manual, host), NOW - 1).availability is DND
    assert detail_of(online(), Layers(manual, host), NOW) == Detail(
        AWAY, None, None, None, 2
    )


def test_no_time_is_older_than_the_moment_of_becoming_visible():
    layers = Layers(manual=Layer(DND, since=100))
    status = online(visible_since=800)
    assert detail_of(status, layers, NOW).since == 800
    assert detail_of(status, NO_LAYERS, NOW).since == 800


layer = st.builds(
    Layer,
    availability=st.sampled_from([None, AWAY, DND]),
    text=st.sampled_from([None, "a", "b"]),
    emoji=st.sampled_from([None, "🌴"]),
    since=st.integers(0, 9),
    expires_at=st.none() | st.integers(1, 9),
)


@given(layer, layer, st.none() | st.integers(1, 9), st.integers(1, 9))
def test_the_rule_in_other_words(manual, host, idle_since, now):
    """From below: begin with what was found out, and let each layer paint over it."""
    ends: dict[str, int | None] = {"availability": None, "text": None, "emoji": None}
    picture = {
        "availability": AWAY if idle_since else ACTIVE,
        "text": None,
        "emoji": None,
        "since": idle_since or 5,
    }
    for one in (host, manual):
        if one.expires_at is not None and now >= one.expires_at:
            continue
        for field in ends:
            if (value := getattr(one, field)) is not None:
                picture[field], ends[field] = value, one.expires_at
                if field == "availability":
                    picture["since"] = one.since
    status = online(updated_at=5, activity=Activity(idle_since))
    shown = detail_of(status, Layers(manual, host), now)
    assert shown is not None
    known = [end for end in ends.values() if end is not None]
    assert shown._asdict() == {**picture, "expires_at": min(known, default=None)}
    is_found_out = all(
        one.availability is None or (one.expires_at or 10) <= now
        for one in (manual, host)
    )
    assert shows_activity(Layers(manual, host), now) == is_found_out


def test_an_empty_layer():
    assert NOTHING_SET.is_empty
    assert not Layer(text="x").is_empty


@pytest.mark.parametrize(
    "text", ["🌴", "👩‍👩‍👧‍👦", "🇩🇪", "❤️", "❤", "👍🏽", "1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🏳️‍🌈", "🧑🏽‍🚀"]
)
def test_one_emoji(text):
    assert is_emoji(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "1", "🌴🌴", "🌴 ", " 🌴", "ab", "é", "\n", "❤️" + "\u0301" * 40),
        *("a\u20e3", "\u0600🌴", "🇩", "🌴\u0301", "\u200d", "🌴\u200d"),
    ],
)
def test_not_one_emoji(text):
    assert not is_emoji(text)
