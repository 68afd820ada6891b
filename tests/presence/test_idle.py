"""Who is idle: decided by Redis, from what the clients of all devices have said."""

from __future__ import annotations

import pytest

from models.detail import found_out
from models.events import Activity, DetailChange, Transition
from models.presence.store import LiveConnection
from tests.presence.shard import GATEWAY, GRACE_MS, OTHER

pytestmark = pytest.mark.integration


def say(shard, user="ann", number=1, *, idle, gateway=GATEWAY):
    one = LiveConnection(user, f"{gateway}:{number}", is_idle=idle)
    return shard.store.activity([one])


def changes(shard):
    """What the outbox has, oldest first; it is empty afterwards."""
    entries = shard.outbox.take("test") or []
    shard.outbox.take("test", entries)
    shard.outbox.release_lease("test")
    return [entry.content for entry in entries]


def activity(shard, user="ann"):
    (status,) = shard.presence.statuses([user])
    return status.activity


def test_one_device_idle_and_back(shard):
    shard.connect("ann")
    changes(shard)
    before = shard.now()
    assert say(shard, idle=True)
    (change,) = changes(shard)
    assert isinstance(change, DetailChange)
    assert not change.by_setting
    idle_since = change.activity.idle_since
    assert before <= idle_since <= shard.now()
    assert activity(shard) == Activity(idle_since=idle_since)
    assert say(shard, idle=False)
    (back,) = changes(shard)
    assert back.timestamp > change.timestamp
    assert back.activity.idle_since is None
    assert activity(shard) == Activity(active_since=back.activity.active_since)


def test_the_same_again_changes_nothing(shard):
    shard.connect("ann")
    say(shard, idle=False)
    say(shard, idle=True)
    since = activity(shard).idle_since
    changes(shard)
    assert not say(shard, idle=True)
    assert changes(shard) == []
    assert activity(shard).idle_since == since


def test_a_user_is_idle_only_if_all_devices_are(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2, OTHER)
    changes(shard)
    say(shard, number=1, idle=True)
    assert changes(shard) == []
    say(shard, number=2, gateway=OTHER, idle=True)
    assert [one.activity.idle_since is not None for one in changes(shard)] == [True]
    # A new device is not idle.
    shard.connect("ann", 3)
    assert [one.activity.idle_since for one in changes(shard)] == [None]


def test_the_device_that_was_not_idle_goes(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    say(shard, number=1, idle=True)
    changes(shard)
    shard.release("ann", 2, grace_ms=GRACE_MS)
    shard.expire("ann")
    # Until the grace is over, it may be a page that is loaded again.
    assert changes(shard) == []
    shard.client.zincrby(
        shard.keys.user_connections("ann"), -GRACE_MS - 1, f"{GATEWAY}:2:released"
    )
    assert shard.expire("ann") == []
    (change,) = changes(shard)
    assert change.activity.idle_since


def test_a_page_that_is_loaded_again_while_the_other_device_is_idle(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    say(shard, number=1, idle=True)
    changes(shard)
    shard.release("ann", 2, grace_ms=GRACE_MS)
    shard.connect("ann", 3)
    shard.expire("ann")
    assert changes(shard) == []
    assert activity(shard) == Activity()


def test_an_idle_page_that_is_closed_leaves_the_others_as_they_are(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    say(shard, number=1, idle=True)
    say(shard, number=2, idle=True)
    since = activity(shard).idle_since
    changes(shard)
    shard.release("ann", 2, grace_ms=GRACE_MS)
    shard.expire("ann")
    assert changes(shard) == []
    assert activity(shard).idle_since == since


def test_a_dead_gateway_had_the_device_that_was_not_idle(shard):
    shard.connect("ann", 1)
    shard.connect("ann", 2, OTHER)
    shard.heartbeat("ann", 1)
    shard.heartbeat("ann", 2, OTHER)
    say(shard, number=1, idle=True)
    changes(shard)
    shard.kill_gateway(OTHER)
    shard.expire(*shard.gateways.reap(OTHER))
    (change,) = changes(shard)
    assert change.activity.idle_since


def test_offline_forgets_it(shard):
    shard.connect("ann")
    say(shard, idle=True)
    shard.release("ann")
    shard.expire("ann")
    assert activity(shard) == Activity()
    assert not {"idle_since", "active_since", "idle_connections"} & (
        shard.hash("ann").keys()
    )
    shard.connect("ann", 2)
    assert activity(shard) == Activity()


def test_redis_comes_back_empty_and_the_gateway_registers_the_device_again(shard):
    shard.connect("ann")
    say(shard, idle=True)
    shard.remove()
    again = LiveConnection("ann", f"{GATEWAY}:1", is_idle=True)
    shard.store.connect(GATEWAY, [again])
    transition, change = changes(shard)
    assert isinstance(transition, Transition)
    assert change.activity.idle_since
    assert activity(shard).idle_since


def test_unknown_connections_and_offline_users_are_skipped(shard):
    assert not say(shard, idle=True)
    shard.connect("ann")
    changes(shard)
    assert not say(shard, number=9, idle=True)
    assert changes(shard) == []
    assert not shard.client.exists(shard.keys.user_status("bob"))


def test_a_detail_that_was_set_is_told_of_users_who_are_online(shard):
    assert not shard.store.record_detail_change("ann")
    shard.connect("ann")
    (online,) = changes(shard)
    assert shard.store.record_detail_change("ann")
    (change,) = changes(shard)
    assert change == DetailChange(
        "ann",
        change.timestamp,
        Activity(active_since=online.timestamp),
        by_setting=True,
    )
    assert change.timestamp > online.timestamp
    # The next transition is newer still, and updated_at has not moved.
    assert int(shard.hash("ann")["updated_at"]) == online.timestamp
    shard.release("ann")
    (offline,) = shard.expire("ann")
    assert offline.timestamp > change.timestamp


def test_after_a_loss_all_say_the_same_of_who_was_registered_before_it_was_noticed(
    shard,
):
    shard.connect("ann")
    (online,) = changes(shard)
    epoch = online.timestamp + 1
    shard.client.set(shard.keys.epoch, epoch)
    shard.store.record_detail_change("ann")
    (change,) = changes(shard)
    (status,) = shard.presence.statuses(["ann"])
    assert status.updated_at == epoch
    assert status.activity == change.activity == Activity(active_since=online.timestamp)
    assert found_out(status).since == online.timestamp
    say(shard, idle=True)
    (idle,) = changes(shard)
    assert activity(shard) == idle.activity._replace(active_since=None)


def test_a_damaged_status_harms_no_other_user(shard):
    shard.connect("ann")
    shard.connect("bob")
    changes(shard)
    shard.client.delete(shard.keys.user_status("ann"))
    shard.client.set(shard.keys.user_status("ann"), "x")
    both = [LiveConnection(who, f"{GATEWAY}:1", is_idle=True) for who in ("ann", "bob")]
    shard.store.activity(both)
    assert [one.user_id for one in changes(shard)] == ["bob"]
    statuses = shard.presence.statuses(["ann", "bob"])
    assert [one.activity.idle_since is None for one in statuses] == [True, False]
