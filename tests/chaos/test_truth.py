"""What the harness calls false, missed and late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from models.events import Transition
from tests.chaos import judgement, truth
from tests.chaos.faults import Injected
from tests.chaos.schedule import KINDS, Fault
from tests.chaos.span import Span
from tests.chaos.witness import Witness


def span(**times) -> Span:
    return Span("ann", "ann/0", web=0, connection_id="gw:x:1", **times)


def judge(spans, *offline_at, injected=()):
    witness = Witness(0)
    for at in offline_at:
        witness.learn(Transition("ann", "offline", int(at * 1000)))
    return judgement.judge(witness, spans, list(injected))


def cut_off(web: str, began: float, ended: float) -> Injected:
    kind = next(
        kind for kind in KINDS if kind.cuts_off and f"clients of {web}" in kind.targets
    )
    return Injected(Fault(kind, f"clients of {web}", 0, 0, 0), began, ended)


def test_offline_of_a_socket_that_was_answered_afterwards_is_false():
    assert judge([span(opened_at=10, answered_at=30)], 20).false_offlines
    assert not judge(
        [span(opened_at=10, answered_at=19, ended_at=19)], 20
    ).false_offlines
    assert not judge([span(opened_at=21, answered_at=30)], 20).false_offlines


def test_only_the_gateway_that_was_cut_off_excuses():
    spans = [span(opened_at=10, answered_at=30)]
    excused = judge(spans, 20, injected=[cut_off("web0", 15, 19)])
    assert (excused.false_offlines, excused.excused) == ([], 1)
    assert judge(spans, 20, injected=[cut_off("web1", 15, 19)]).false_offlines
    long_ago = cut_off("web0", 1, 20 - judgement.EXCUSED_AFTER - 1)
    assert judge(spans, 20, injected=[long_ago]).false_offlines


def test_a_ghost_lives_from_the_last_end_to_the_announcement():
    spans = [span(opened_at=1, ended_at=12), span(opened_at=2, ended_at=15)]
    assert judge(spans, 20).worst_ghost == pytest.approx(5)
    assert judge(spans, 20).worst_calm_ghost == pytest.approx(5)
    assert judge(spans, 16, 20).worst_ghost == pytest.approx(1)
    hurt = judge(spans, 20, injected=[cut_off("web1", 16, 17)])
    assert (hurt.worst_ghost, hurt.worst_calm_ghost) == (pytest.approx(5), 0)


def test_missed_is_what_came_neither_as_an_event_nor_in_a_snapshot():
    witness = Witness(0)
    change = Transition("bob", "online", 20_000)
    witness.learn(change)
    of_ann = span(opened_at=1, snapshot_at=10)
    of_ann.take_snapshot({"bob": {"status": "offline", "timestamp": 5_000}})
    of_ann.snapshot_at = 10
    device = SimpleNamespace(name="ann/0", user_id="ann", wanted=True, span=of_ann)
    relevant = {"ann": frozenset({"bob"})}
    assert truth.missed([device], relevant, witness)
    of_ann.snapshot_at = 21
    assert not truth.missed([device], relevant, witness)
    of_ann.snapshot_at = 10
    assert of_ann.take_change(change)
    assert not truth.missed([device], relevant, witness)
    assert not of_ann.take_change(change), "a repeat is no news"


def test_a_snapshot_replaces_the_map_but_for_newer_events():
    one = span()
    one.take_change(Transition("bob", "online", 30))
    one.take_change(Transition("cid", "online", 30))
    one.take_snapshot(
        {
            "bob": {"status": "offline", "timestamp": 20},
            "cid": {"status": "offline", "timestamp": 40},
        }
    )
    assert one.statuses == {"bob": ("online", 30), "cid": ("offline", 40)}


def state(**values) -> truth.State:
    nothing = {"online": set(), "deadlines": set(), "gateways": set(), "dead": set()}
    empty = {"outbox": 0, "users_of": {}, "statuses": {}, "connections": {}}
    return truth.State(**{**nothing, **empty, **values})


def test_a_gateway_may_hold_nobody_but_not_be_dead():
    expected = truth.Expected({}, {})
    assert truth.check_redis(state(gateways={"web.1:aa"}), expected) == []
    assert truth.check_redis(state(dead={"web.1:aa"}), expected)
    holds = truth.Expected({}, {"web.1:aa": {"ann"}})
    users = {"web.1:aa": {"ann"}}
    assert truth.check_redis(state(users_of=users), holds)
    assert truth.check_redis(state(gateways={"web.1:aa"}, users_of=users), holds) == []
