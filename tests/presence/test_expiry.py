"""The only road to offline: release with grace, deadlines that pass, and expire."""

from __future__ import annotations

import time

import pytest

from models.presence.batches import SCRIPT_BATCH
from models.presence.store import Caller, ClosedConnection, LiveConnection
from tests.presence.shard import GATEWAY, GRACE_MS, OFFLINE_TTL_MS, OTHER, TTL_MS, Shard

pytestmark = pytest.mark.integration

RELEASED = f"{GATEWAY}:1:released"


# Expire


def test_expire_after_the_deadline_makes_offline(shard):
    (online,) = shard.connect("ann").transitions
    shard.let_pass(TTL_MS + 1, "ann")
    before = shard.now()
    reply = shard.store.expire(["ann"])
    (offline,) = reply.transitions
    assert (offline.user_id, offline.status) == ("ann", "offline")
    assert before <= offline.timestamp <= shard.now()
    assert offline.timestamp > online.timestamp
    assert not shard.is_online("ann")
    assert shard.transitions() == [online, offline]
    assert shard.hash("ann")["status"] == "offline"
    assert shard.hash("ann")["updated_at"] == str(offline.timestamp)
    assert OFFLINE_TTL_MS - 5000 < shard.hash_ttl("ann") <= OFFLINE_TTL_MS
    assert shard.connections("ann") == {}
    assert shard.deadline("ann") is None


def test_expire_before_the_deadline_changes_nothing(shard):
    (online,) = shard.connect("ann").transitions
    before = shard.hash("ann")
    reply = shard.store.expire(["ann"])
    assert reply.transitions == []
    assert not reply.needs_drain
    assert shard.is_online("ann")
    assert shard.hash("ann") == before
    assert len(shard.connections("ann")) == 1
    assert shard.transitions() == [online]


def test_expire_waits_for_the_last_of_several_connections(shard):
    shard.connect("ann", 1)
    shard.let_pass(TTL_MS + 1, "ann")
    shard.connect("ann", 2, gateway=OTHER)
    assert shard.expire("ann") == []
    shard.let_pass(TTL_MS + 1, "ann")
    assert len(shard.expire("ann")) == 1


def test_expire_twice_is_one_transition(shard):
    shard.connect("ann")
    shard.release("ann")
    assert len(shard.expire("ann", "ann")) == 1
    assert shard.expire("ann") == []
    assert [entry.status for entry in shard.transitions()] == ["online", "offline"]


def test_expire_of_who_was_never_here_leaves_nothing(shard):
    assert shard.expire("ghost") == []
    assert shard.all_keys() == set()


def test_expire_sets_a_wrong_deadline_right(shard):
    """The user's deadline follows the connections', which are the truth."""
    shard.connect("ann")
    shard.client.zadd(shard.keys.deadlines, {"ann": 1})
    assert shard.store.due().user_ids == ["ann"]
    assert shard.expire("ann") == []
    assert shard.deadline("ann") == shard.connections("ann")[f"{GATEWAY}:1"]
    assert shard.store.due().user_ids == []


def test_expire_without_connections_goes_by_the_deadline(shard):
    shard.connect("ann")
    shard.client.delete(shard.keys.user_connections("ann"))
    assert shard.expire("ann") == []
    assert shard.is_online("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    assert len(shard.expire("ann")) == 1


def test_expire_of_an_announced_user_without_anything_else(shard):
    """Only the online set is left of the user: nobody knows when they were seen."""
    shard.client.sadd(shard.keys.online_users, "ann")
    before = shard.now()
    (offline,) = shard.expire("ann")
    assert before <= offline.timestamp
    assert 0 < int(shard.hash("ann")["last_seen"]) <= offline.timestamp
    assert not shard.is_online("ann")


def test_silence_leaves_the_last_sign_of_life_as_last_seen(shard):
    """Even where the status has expired with the deadline, as it does on silence."""
    shard.connect("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    assert shard.hash("ann") == {}
    last_sign = shard.deadline("ann") - TTL_MS
    shard.expire("ann")
    assert int(shard.hash("ann")["last_seen"]) == last_sign


def test_more_users_than_one_batch(shard):
    users = [f"u{number}" for number in range(2 * SCRIPT_BATCH + 3)]
    store = shard.store
    store.connect(
        GATEWAY, [LiveConnection(user, f"{GATEWAY}:{user}") for user in users]
    )
    stay = set(users[::2])
    gone = [ClosedConnection(user, f"{GATEWAY}:{user}", 0) for user in users[1::2]]
    assert store.release(GATEWAY, gone) == len(gone)
    assert [entry.user_id for entry in store.expire(users).transitions] == users[1::2]
    assert shard.client.smembers(shard.keys.online_users) == stay
    assert shard.client.smembers(shard.keys.gateway_users(GATEWAY)) == stay


# Release


def test_release_makes_nobody_offline(shard):
    (online,) = shard.connect("ann").transitions
    assert shard.release("ann") == 1
    assert shard.is_online("ann")
    assert shard.transitions() == [online]
    assert shard.connections("ann") == {}
    assert not shard.holds("ann")
    assert shard.store.due().user_ids == ["ann"]
    assert len(shard.expire("ann")) == 1


def test_grace_keeps_online_until_it_ends(shard):
    shard.connect("ann")
    before = shard.now()
    shard.release("ann", grace_ms=GRACE_MS)
    (deadline,) = shard.connections("ann").values()
    assert before + GRACE_MS <= deadline <= shard.now() + GRACE_MS
    assert shard.deadline("ann") == deadline
    assert set(shard.connections("ann")) == {RELEASED}
    assert shard.expire("ann") == []
    shard.let_pass(GRACE_MS + 1, "ann")
    assert len(shard.expire("ann")) == 1


def test_grace_in_real_time(shard):
    shard.connect("ann")
    shard.release("ann", grace_ms=80)
    assert shard.expire("ann") == []
    time.sleep(0.1)
    assert len(shard.expire("ann")) == 1


def test_who_comes_back_within_the_grace_never_was_away(shard):
    shard.connect("ann", 1)
    shard.release("ann", 1, grace_ms=GRACE_MS)
    assert shard.connect("ann", 2).transitions == []
    shard.let_pass(GRACE_MS + 1, "ann")
    assert shard.expire("ann") == []
    assert len(shard.transitions()) == 1


def test_a_late_release_does_not_harm_who_came_back(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2, gateway=OTHER)
    deadline = shard.deadline("ann")
    shard.release("ann", 1)
    assert shard.deadline("ann") == shard.connections("ann")[f"{OTHER}:2"] >= deadline
    assert shard.store.due().user_ids == []
    assert shard.expire("ann") == []


def test_who_left_is_offline_with_one_call(shard):
    shard.connect("ann", 1)
    shard.connect("bob", 1)
    shard.connect("bob", 2, gateway=OTHER)
    shard.connect("cid", 1)
    departures = [
        ClosedConnection(user_id, f"{GATEWAY}:1", grace_ms)
        for user_id, grace_ms in (("ann", 0), ("bob", 0), ("cid", GRACE_MS))
    ]
    store = shard.store
    reply = store.release_and_expire(
        Caller(GATEWAY, 0), departures, ["ann", "bob", "cid"]
    )
    # Bob has another connection, and Cid's grace is not over.
    assert [change.user_id for change in reply.transitions] == ["ann"]
    assert shard.transitions()[-1] == reply.transitions[0]
    again = store.release_and_expire(
        Caller(GATEWAY, 0), departures, ["ann", "bob", "cid"]
    )
    assert again.transitions == []


def test_who_has_lost_what_it_told_the_caller_expires_nobody(shard):
    """Redis came back with an older state: it may not know that Ann is back, too."""
    shard.connect("ann")
    told = shard.gateways.heartbeat(GATEWAY).deadline
    shard.client.zadd(shard.keys.gateways, {GATEWAY: told - 1})
    left = [ClosedConnection("ann", f"{GATEWAY}:1", 0)]
    caller = Caller(GATEWAY, told)
    for reply in (
        shard.store.release_and_expire(caller, left, ["ann"]),
        shard.store.expire(["ann"], caller),
    ):
        assert reply.is_refused
        assert reply.transitions == []
        assert not reply.needs_drain
    shard.client.zrem(shard.keys.gateways, GATEWAY)
    assert shard.store.expire(["ann"], caller).is_refused
    assert shard.is_online("ann")
    shard.client.zadd(shard.keys.gateways, {GATEWAY: told})
    (transition,) = shard.store.expire(["ann"], caller).transitions
    assert transition.status == "offline"


def test_a_call_that_a_heartbeat_has_overtaken_expires_nobody(shard):
    """Redis stood still, and read the heartbeat first: only its answer tells of it."""
    shard.connect("ann")
    waited = Caller(GATEWAY, shard.gateways.heartbeat(GATEWAY).deadline)
    left = [ClosedConnection("ann", f"{GATEWAY}:1", 0)]
    shard.client.zadd(shard.keys.gateways, {GATEWAY: waited.deadline + 1})
    for reply in (
        shard.store.release_and_expire(waited, left, ["ann"]),
        shard.store.expire(["ann"], waited),
    ):
        assert reply.is_overtaken
        assert not reply.is_refused
        assert reply.transitions == []
    assert shard.is_online("ann")
    answered = Caller(GATEWAY, waited.deadline + 1)
    assert shard.store.expire(["ann"], answered).transitions


def test_a_sweep_that_waited_for_longer_than_its_survey_counts_expires_nobody(shard):
    shard.connect("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    assert shard.store.expire(["ann"], Caller("", shard.now())).is_refused
    assert shard.is_online("ann")
    assert shard.store.expire(["ann"], Caller("", shard.now() + 60_000)).transitions


def test_a_call_that_waited_for_a_redis_that_stood_still_expires_nobody(shard):
    """So did the heartbeats of Ann's other device, which may be next in the queue."""
    shard.connect("ann", 1)
    shard.connect("ann", 2, gateway=OTHER)
    caller = Caller(GATEWAY, shard.gateways.heartbeat(GATEWAY).deadline)
    left = [ClosedConnection("ann", f"{GATEWAY}:1", 0)]
    shard.let_pass(TTL_MS + 1, "ann")
    shard.client.zadd(shard.keys.gateways, {GATEWAY: shard.now()})
    waited = Caller(GATEWAY, 1)
    assert shard.store.release_and_expire(waited, left, ["ann"]).is_refused
    assert shard.is_online("ann")
    shard.client.zadd(shard.keys.gateways, {GATEWAY: caller.deadline})
    assert shard.store.expire(["ann"], caller).transitions


def test_release_twice_counts_once(shard):
    shard.connect("ann")
    assert shard.release("ann", grace_ms=GRACE_MS) == 1
    deadline = shard.deadline("ann")
    assert shard.release("ann", grace_ms=GRACE_MS) == 0
    assert shard.deadline("ann") == deadline


def test_release_of_what_never_was_leaves_nothing(shard):
    assert shard.release("ghost", grace_ms=GRACE_MS) == 0
    assert shard.all_keys() == set()


def test_release_after_offline_changes_nothing(shard):
    shard.connect("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    shard.expire("ann")
    before = shard.hash("ann")
    assert shard.release("ann", grace_ms=GRACE_MS) == 0
    assert shard.hash("ann") == before
    assert shard.connections("ann") == {}
    assert shard.deadline("ann") is None
    assert shard.expire("ann") == []


def test_release_told_late_counts_from_the_end(shard):
    """Redis was away for a while: the grace was over before it was told."""
    shard.connect("ann")
    now = shard.now()
    shard.release("ann", grace_ms=GRACE_MS, age_ms=10_000)
    last_seen = int(shard.hash("ann")["last_seen"])
    assert now - 10_000 <= last_seen <= shard.now() - 10_000
    assert len(shard.expire("ann")) == 1
    assert int(shard.hash("ann")["last_seen"]) == last_seen


def test_released_connections_expire_by_themselves(shard):
    """Taking the last member away deletes the key, and its TTL with it."""
    shard.connect("ann")
    shard.release("ann", grace_ms=GRACE_MS)
    ttl = shard.client.pttl(shard.keys.user_connections("ann"))
    assert GRACE_MS < ttl <= 6 * TTL_MS


def test_status_lives_through_the_grace(shard):
    """The last heartbeat came nearly a TTL ago: the status would expire in the grace,
    and with it the moment at which the user was last seen."""
    shard.connect("ann", age_ms=TTL_MS - 100)
    ended = shard.now()
    shard.release("ann", grace_ms=GRACE_MS)
    assert GRACE_MS - 1000 < shard.hash_ttl("ann") <= TTL_MS
    shard.let_pass(GRACE_MS + 1, "ann")
    shard.expire("ann")
    assert int(shard.hash("ann")["last_seen"]) >= ended


def test_gateway_keeps_a_user_with_another_connection_there(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    shard.connect("ann", 3, gateway=OTHER)
    shard.release("ann", 1, grace_ms=GRACE_MS)
    assert shard.holds("ann")
    shard.release("ann", 2, grace_ms=GRACE_MS)
    assert not shard.holds("ann")
    assert shard.holds("ann", OTHER)


def test_gateways_with_similar_names_are_told_apart(shard):
    shard.connect("ann", 1, gateway="web.1:aa")
    shard.connect("ann", 1, gateway="web.1:aab")
    shard.release("ann", 1, gateway="web.1:aa")
    assert not shard.holds("ann", "web.1:aa")
    assert shard.holds("ann", "web.1:aab")
    assert set(shard.connections("ann")) == {"web.1:aab:1"}


def test_whole_batch_of_one_user(shard):
    """500 sockets of one user end at once."""
    store = shard.store
    many = Shard.open(shard.client, shard.keys.prefix, max_connections_per_user=1000)
    ids = [f"{GATEWAY}:{number}" for number in range(SCRIPT_BATCH + 100)]
    many.store.connect(GATEWAY, [LiveConnection("ann", one) for one in ids])
    assert store.release(
        GATEWAY, [ClosedConnection("ann", one, 0) for one in ids]
    ) == len(ids)
    assert not shard.holds("ann")
    assert len(shard.expire("ann")) == 1


# Due


def test_due_lists_who_has_passed_longest_ago_first(shard):
    for user in ("live", "old", "older"):
        shard.connect(user)
    shard.let_pass(TTL_MS + 100, "old")
    shard.let_pass(TTL_MS + 900, "older")
    assert shard.store.due().user_ids == ["older", "old"]
    assert shard.store.due(limit=1).user_ids == ["older"]
    shard.expire("older", "old")
    assert shard.store.due().user_ids == []


def test_due_takes_at_most_a_batch(shard):
    deadlines = {f"u{number}": number for number in range(SCRIPT_BATCH + 1)}
    shard.client.zadd(shard.keys.deadlines, deadlines)
    assert len(shard.store.due().user_ids) == SCRIPT_BATCH


# Users without a deadline


def test_a_user_without_a_deadline_gets_one(shard):
    """Someone deleted the deadlines while this user had none of the heartbeats that
    would mend it: its gateway is gone too."""
    users = [f"u{n}" for n in range(250)]
    for user in users:
        shard.connect(user)
    shard.client.delete(shard.keys.deadlines)
    adopted = 0
    while found := shard.store.adopt(limit=100):
        adopted += found
    assert adopted == len(users)
    left = shard.deadline("u0") - shard.now()
    assert TTL_MS - 5000 < left <= TTL_MS


def test_adopting_changes_no_deadline_and_costs_nothing_where_all_have_one(shard):
    shard.connect("ann")
    shard.connect("bob")
    before = shard.deadline("ann")
    assert shard.store.adopt() == 0
    assert not shard.client.hexists(shard.keys.sweeps, "adopted_up_to")
    shard.client.zrem(shard.keys.deadlines, "bob")
    assert shard.store.adopt() == 1
    assert shard.deadline("ann") == before


@pytest.mark.parametrize(
    "deleted",
    [["online_users"], ["deadlines"], ["connections"], ["online_users", "deadlines"]],
)
def test_a_user_who_leaves_a_damaged_state_is_announced_as_offline_once(shard, deleted):
    """The friends were told that the user is online: they must not see a ghost."""
    shard.connect("ann")
    named = {"connections": shard.keys.user_connections("ann")}
    keys = [named.get(name) or getattr(shard.keys, name) for name in deleted]
    shard.client.delete(*keys)
    shard.release("ann")
    if "connections" in deleted:  # nobody can tell that it was the last one
        assert shard.expire("ann") == []
        shard.let_pass(TTL_MS + 1, "ann")
    (offline,) = shard.expire("ann")
    assert offline.status == "offline"
    assert shard.expire("ann") == []
