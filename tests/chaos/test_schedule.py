"""The schedule: repeatable, complete, and nothing is hurt twice at once."""

from __future__ import annotations

from itertools import chain, pairwise

from tests.chaos.schedule import KINDS, parts_of, schedule


def test_a_seed_is_a_schedule():
    assert schedule(7, 5) == schedule(7, 5)
    assert schedule(7, 5) != schedule(8, 5)


def test_every_kind_comes_within_a_few_minutes():
    kinds = {fault.kind for fault in chain(*schedule(1, 12))}
    assert kinds == set(KINDS)


def test_nothing_is_hurt_by_two_faults_at_once():
    for faults in schedule(3, 50):
        parts = {part for fault in faults for part in parts_of(fault.target)}
        for part in parts:
            on_part = [fault for fault in faults if part in parts_of(fault.target)]
            for first, second in pairwise(on_part):
                assert second.at > first.at + first.lasts
