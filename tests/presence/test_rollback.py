"""Redis comes back with less than it knew: the gateway notices, and what is said from
then on counts as newer than all that was said before."""

from __future__ import annotations

import time

import pytest

from models.presence.store import LiveConnection
from tests.presence.shard import GATEWAY, OTHER

pytestmark = pytest.mark.integration


def status(shard, user):
    (found,) = shard.presence.statuses([user])
    return found


def test_nothing_lost_is_no_new_epoch(shard):
    gateways = shard.gateways
    shard.connect("ann")
    first = gateways.heartbeat(GATEWAY)
    second = gateways.heartbeat(GATEWAY, last_deadline=first.deadline)
    assert first.lapsed
    assert not second.lapsed
    assert shard.client.zscore(shard.keys.gateways, GATEWAY) == second.deadline
    assert not shard.client.exists(shard.keys.epoch)
    assert shard.holds("ann")
    assert status(shard, "nobody").updated_at == 0


def test_an_empty_redis_is_noticed_and_beats_what_was_announced_before(shard):
    # Found by `make chaos`: a user went offline while Redis was emptied. The snapshot
    # said offline since 0, the client knew of online since later, and kept that.
    gateways = shard.gateways
    (announced,) = shard.connect("ann").transitions
    deadline = gateways.heartbeat(GATEWAY).deadline
    shard.remove()
    time.sleep(0.002)
    assert gateways.heartbeat(GATEWAY, last_deadline=deadline).lapsed
    assert not status(shard, "ann").online
    assert status(shard, "ann").updated_at > announced.timestamp
    assert status(shard, "ann").last_seen is None


def test_an_older_state_is_noticed_and_beats_what_was_announced_since(shard):
    # Found by `make chaos`: offline was announced, then Redis came back with a state in
    # which she was online, and she did come back: no transition, and no newer time.
    gateways = shard.gateways
    shard.connect("ann")
    old = gateways.heartbeat(GATEWAY)
    kept = shard.client.dump(shard.keys.user_status("ann"))
    shard.release("ann")
    (announced,) = shard.expire("ann")
    new = gateways.heartbeat(GATEWAY, last_deadline=old.deadline)

    time.sleep(0.002)
    shard.client.restore(shard.keys.user_status("ann"), 0, kept, replace=True)
    shard.client.sadd(shard.keys.online_users, "ann")
    shard.client.zadd(shard.keys.gateways, {GATEWAY: old.deadline})
    assert shard.connect("ann", 2).transitions == []
    assert gateways.heartbeat(GATEWAY, last_deadline=new.deadline + 1).lapsed
    assert status(shard, "ann").online
    assert status(shard, "ann").updated_at > announced.timestamp


def test_after_a_loss_the_gateway_holds_only_whom_it_registers(shard):
    # Found by `make chaos`: an old state has users of the gateway who have left it
    # since, and nothing ever took them out.
    gateways = shard.gateways
    deadline = gateways.heartbeat(GATEWAY).deadline
    shard.connect("ann")
    shard.connect("bob")
    shard.connect("cid", gateway=OTHER)
    shard.client.zadd(shard.keys.gateways, {GATEWAY: deadline - 1})
    assert gateways.heartbeat(GATEWAY, last_deadline=deadline).lapsed
    assert not shard.holds("ann")
    shard.connect("bob")
    assert shard.holds("bob")
    assert not shard.holds("ann")
    assert shard.holds("cid", OTHER)


def test_a_lost_answer_may_have_been_a_lapse(shard):
    gateways = shard.gateways
    gateways.heartbeat(GATEWAY)
    shard.connect("ann")
    shard.kill_gateway(GATEWAY)
    told = int(shard.client.zscore(shard.keys.gateways, GATEWAY))
    gateways.heartbeat(GATEWAY, last_deadline=told)  # the answer never came
    assert gateways.heartbeat(GATEWAY, last_deadline=told).lapsed
    assert shard.holds("ann")
    assert not shard.client.exists(shard.keys.epoch)


def test_the_batches_of_one_heartbeat_follow_each_other(shard):
    gateways = shard.gateways
    signs = [
        LiveConnection(f"u{number}", f"{GATEWAY}:{number}") for number in range(1200)
    ]
    shard.store.connect(GATEWAY, signs)
    first = gateways.heartbeat(GATEWAY, signs)
    second = gateways.heartbeat(GATEWAY, signs, first.deadline)
    assert not second.lapsed
    assert second.gone == []
