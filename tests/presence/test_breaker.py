"""When a sweep holds, decided by pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.presence.rules import MassExpiryGuard, Survey

GUARD = MassExpiryGuard(share=0.5, count=100, hold=5_000, trust=15_000)
QUIET = Survey(
    now=1_000_000,
    no_gap_since=1_000_000 - 60_000,
    held_since=0,
    affected=0,
    online=1_000,
    gateways=2,
    overdue_gateways=0,
)
JUST_BACK = replace(QUIET, no_gap_since=QUIET.now)


def test_nothing_due_is_never_held():
    assert not GUARD.holds(QUIET)
    assert not GUARD.holds(JUST_BACK)
    assert not GUARD.holds(replace(JUST_BACK, overdue_gateways=2))


@pytest.mark.parametrize(
    "gone",
    [
        {"affected": 500},
        {"affected": 1_000},
        {"affected": 3, "online": 3, "overdue_gateways": 2},
        {"affected": 1, "online": 1, "gateways": 1, "overdue_gateways": 1},
        # When Redis is back one gateway is quicker than the other to show it lives.
        {"affected": 2, "overdue_gateways": 1},
    ],
)
def test_all_gone_at_once_is_held_after_a_gap_and_believed_without_one(gone):
    assert GUARD.holds(replace(JUST_BACK, **gone))
    assert not GUARD.holds(replace(QUIET, **gone))


@pytest.mark.parametrize(
    "gone",
    [
        {"affected": 499},
        {"affected": 99, "online": 99},
    ],
)
def test_few_who_are_gone_are_held_right_after_a_gap_only(gone):
    # A gateway that is back shows itself first, and then registers its users.
    assert GUARD.holds(replace(JUST_BACK, **gone))
    later = replace(JUST_BACK, now=JUST_BACK.now + 5_000, **gone)
    assert not GUARD.holds(later)


def test_a_hold_lasts_its_time_whatever_is_seen_meanwhile_and_then_ends():
    held = replace(JUST_BACK, held_since=JUST_BACK.now)
    assert GUARD.holds(replace(held, now=held.now + 4_999))
    assert not GUARD.holds(replace(held, now=held.now + 5_000, affected=1_000))


def test_a_gap_in_a_hold_begins_it_anew():
    # Redis was away twice in ten seconds: everybody would have been announced offline.
    held = replace(JUST_BACK, held_since=JUST_BACK.now - 4_000, affected=1_000)
    assert GUARD.holds(replace(held, now=held.now + 4_999))
    assert not GUARD.holds(replace(held, now=held.now + 5_000))


def test_who_is_gone_after_a_loss_is_believed_when_all_could_register_anew():
    # Found by `make chaos`: Redis came back with an older state, in which the grace of
    # a user was over who had come back since.
    gone = replace(QUIET, affected=1, epoch=QUIET.now - 4_999)
    assert GUARD.holds(gone)
    assert not GUARD.holds(replace(gone, affected=0))
    assert not GUARD.holds(replace(gone, epoch=QUIET.now - 5_000))


def test_trust_begins_when_a_gateway_would_have_been_seen_to_die():
    gone = replace(QUIET, affected=1_000)
    assert GUARD.holds(replace(gone, no_gap_since=gone.now - 14_999))
    assert not GUARD.holds(replace(gone, no_gap_since=gone.now - 15_000))
