"""The gateways: their deadlines, what heartbeats may do, reaping, and their streams."""

from __future__ import annotations

import time

import pytest

from models.events import (
    VERSION,
    Delivery,
    GatewayMessage,
    Transition,
    UnreadableMessage,
)
from models.presence import CommandRefused, PresenceUnavailable
from models.presence.batches import SCRIPT_BATCH
from models.presence.gateway_streams import MAX_STREAM_LENGTH, STREAM_TTL_MS, StreamRead
from models.presence.store import LiveConnection
from tests.presence.shard import (
    GATEWAY,
    GATEWAY_TTL_MS,
    GRACE_MS,
    OTHER,
    TTL_MS,
    Shard,
)
from tests.presence.simulated import SimulatedTime, installed

pytestmark = pytest.mark.integration


# Heartbeats


def test_first_heartbeat_of_a_gateway_is_a_lapse(shard):
    assert shard.gateways.heartbeat(GATEWAY).lapsed
    before = shard.now()
    assert not shard.gateways.heartbeat(GATEWAY).lapsed
    deadline = shard.client.zscore(shard.keys.gateways, GATEWAY)
    assert before <= deadline - GATEWAY_TTL_MS <= shard.now()


def test_an_overdue_gateway_is_told_so_and_lives_again(shard):
    gateways = shard.gateways
    gateways.heartbeat(GATEWAY)
    shard.kill_gateway(GATEWAY)
    assert shard.store.due().gateway_ids == [GATEWAY]
    assert gateways.heartbeat(GATEWAY).lapsed
    assert shard.store.due().gateway_ids == []
    assert not gateways.heartbeat(GATEWAY).lapsed


def test_heartbeat_moves_the_deadlines_and_the_status(shard):
    (online,) = shard.connect("ann").transitions
    shard.let_pass(30_000, "ann")
    before = shard.now()
    assert shard.heartbeat("ann")
    after = shard.now()
    deadline = shard.deadline("ann")
    assert before <= deadline - TTL_MS <= after
    assert shard.connections("ann") == {f"{GATEWAY}:1": deadline}
    status = shard.hash("ann")
    assert status["status"] == "online"
    assert int(status["last_seen"]) == deadline - TTL_MS
    assert int(status["updated_at"]) == online.timestamp
    assert TTL_MS - 5000 < shard.hash_ttl("ann") <= TTL_MS
    assert shard.client.pttl(shard.keys.user_connections("ann")) > TTL_MS
    assert shard.transitions() == [online]


def test_heartbeat_counts_from_when_it_came(shard):
    shard.connect("ann")
    shard.let_pass(30_000, "ann")
    now = shard.now()
    shard.heartbeat("ann", age_ms=10_000)
    assert now <= shard.deadline("ann") - TTL_MS + 10_000 <= shard.now()


def test_heartbeat_revives_nothing(shard):
    assert not shard.heartbeat("ann")
    assert shard.all_keys() == {shard.keys.gateways}


def test_heartbeat_after_release_is_gone(shard):
    shard.connect("ann")
    shard.release("ann")
    assert not shard.heartbeat("ann")
    assert len(shard.expire("ann")) == 1


def test_late_heartbeat_does_not_prolong_a_released_connection(shard):
    shard.connect("ann")
    shard.release("ann", grace_ms=GRACE_MS)
    before = shard.connections("ann"), shard.deadline("ann")
    assert not shard.heartbeat("ann")
    assert (shard.connections("ann"), shard.deadline("ann")) == before
    shard.let_pass(GRACE_MS + 1, "ann")
    assert len(shard.expire("ann")) == 1


def test_heartbeat_after_offline_is_gone(shard):
    shard.connect("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    shard.expire("ann")
    assert not shard.heartbeat("ann")
    assert not shard.is_online("ann")
    assert shard.hash("ann")["status"] == "offline"


def test_heartbeat_rebuilds_an_expired_status(shard):
    (online,) = shard.connect("ann").transitions
    shard.client.delete(shard.keys.user_status("ann"))
    assert shard.heartbeat("ann")
    rebuilt = shard.hash("ann")
    assert rebuilt["status"] == "online"
    assert int(rebuilt["updated_at"]) >= online.timestamp
    assert int(rebuilt["last_seen"]) >= online.timestamp
    assert 0 < shard.hash_ttl("ann") <= TTL_MS
    assert len(shard.transitions()) == 1


def test_user_taken_out_of_the_online_set_is_registered_anew(shard):
    """Where somebody else removed the user, heartbeats say so and connect mends it."""
    (first,) = shard.connect("ann").transitions
    shard.client.srem(shard.keys.online_users, "ann")
    assert not shard.heartbeat("ann")
    (again,) = shard.connect("ann").transitions
    assert again.status == "online"
    assert again.timestamp > first.timestamp
    assert shard.heartbeat("ann")
    assert shard.is_online("ann")


def test_user_who_has_lost_his_deadline_is_registered_anew(shard):
    shard.connect("ann")
    shard.connect("bob", 2)
    shard.client.zrem(shard.keys.deadlines, "ann")
    assert not shard.heartbeat("ann")
    assert shard.heartbeat("bob", 2)
    shard.connect("ann")
    assert shard.heartbeat("ann")
    assert shard.deadline("ann")


@pytest.mark.parametrize("number", [1, 2])
def test_sets_of_one_size_that_hold_other_users_are_noticed(shard, number):
    """Membership is looked up: equal sizes say nothing."""
    keys = shard.keys
    for user in ("ann", "bob"):
        shard.connect(user, number)
    shard.client.srem(keys.online_users, "ann")
    shard.client.zrem(keys.deadlines, "bob")
    signs = [LiveConnection(user, f"{GATEWAY}:{number}") for user in ("ann", "bob")]
    assert shard.gateways.heartbeat(GATEWAY, signs).gone == signs
    shard.store.connect(GATEWAY, signs)
    assert not shard.gateways.heartbeat(GATEWAY, signs).gone


def test_both_sets_deleted_are_rebuilt(shard):
    signs = [LiveConnection(f"u{n}", f"{GATEWAY}:{n}") for n in range(SCRIPT_BATCH + 3)]
    shard.store.connect(GATEWAY, signs)
    shard.client.delete(shard.keys.online_users, shard.keys.deadlines)
    assert shard.gateways.heartbeat(GATEWAY, signs).gone == signs
    again = shard.store.connect(GATEWAY, signs).transitions
    assert [change.user_id for change in again] == [sign.user_id for sign in signs]
    assert not shard.gateways.heartbeat(GATEWAY, signs).gone


def test_a_gateway_whose_users_were_deleted_registers_them_again(shard):
    """Otherwise, should it die, its users would be unknown."""
    shard.heartbeat("ann")
    shard.connect("ann")
    sign = LiveConnection("ann", f"{GATEWAY}:1")
    deadline = shard.gateways.heartbeat(GATEWAY, [sign]).deadline
    shard.client.delete(shard.keys.gateway_users(GATEWAY))
    reply = shard.gateways.heartbeat(GATEWAY, [sign], deadline)
    assert reply.lapsed
    assert not reply.gone
    shard.connect("ann")
    assert not shard.gateways.heartbeat(GATEWAY, [sign], reply.deadline).lapsed


def test_two_devices_in_one_heartbeat_are_both_found(shard):
    """The second deadline moves nothing, and is no loss."""
    signs = [LiveConnection("ann", f"{GATEWAY}:{n}", age_ms=10 * n) for n in range(3)]
    shard.store.connect(GATEWAY, signs)
    assert not shard.gateways.heartbeat(GATEWAY, signs).gone
    shard.client.zrem(shard.keys.deadlines, "ann")
    assert shard.gateways.heartbeat(GATEWAY, signs).gone == signs


@pytest.mark.parametrize("user", ["u0", "u1", "u2", "u3"])
def test_a_live_connection_never_expires(client, user):
    """Heartbeats put the end of the whole key off only now and then. They come as
    rarely as they may here, each at another place within its TTL."""
    with installed():
        shard, clock = Shard.open(client), SimulatedTime(client)
        key = shard.keys.user_connections(user)
        shard.connect(user)
        least = clock.expires_at(key) - clock.now
        for _ in range(40):
            clock.set(clock.now + TTL_MS - 1_001)
            assert shard.heartbeat(user)
            least = min(least, clock.expires_at(key) - clock.now)
        clock.set(clock.expires_at(key) + 1)
        assert not shard.connections(user)
        shard.remove()
        clock.forget()
    assert least >= TTL_MS


def test_status_of_who_is_registered_anew_lives_as_long_as_the_other_device(shard):
    """Found by the model: the old sign of life of the device that comes first must not
    shorten the status of a user whose other device is live."""
    shard.connect("ann", 1)
    shard.client.srem(shard.keys.online_users, "ann")
    assert shard.connect("ann", 2, age_ms=TTL_MS - 1).transitions
    assert shard.hash_ttl("ann") > TTL_MS - 5000


def test_gone_are_named_over_several_batches(shard):
    signs = [
        LiveConnection(f"u{n}", f"{GATEWAY}:{n}") for n in range(2 * SCRIPT_BATCH + 9)
    ]
    shard.store.connect(GATEWAY, signs[::2])
    reply = shard.gateways.heartbeat(GATEWAY, signs)
    assert reply.lapsed
    assert reply.gone == signs[1::2]
    assert not shard.gateways.heartbeat(GATEWAY, signs).lapsed


# Reaping


def test_a_live_gateway_is_not_reaped(shard):
    shard.connect("ann")
    shard.heartbeat("ann")
    assert shard.gateways.reap(GATEWAY) == []
    assert shard.holds("ann")
    assert shard.heartbeat("ann")
    assert shard.expire("ann") == []


def test_a_dead_gateway_is_reaped_with_its_connections_only(shard):
    shard.heartbeat("ann")
    shard.heartbeat("ann", gateway=OTHER)
    shard.connect("ann")
    shard.connect("bob")
    shard.connect("bob", gateway=OTHER)
    shard.connect("cid", gateway=OTHER)
    shard.presence.gateway_streams.publish(
        {GATEWAY: GatewayMessage(snapshots=("ann",))}
    )
    shard.kill_gateway(GATEWAY)
    assert sorted(shard.gateways.reap(GATEWAY)) == ["ann", "bob"]
    assert [entry.user_id for entry in shard.expire("ann", "bob", "cid")] == ["ann"]
    assert set(shard.connections("bob")) == {f"{OTHER}:1"}
    assert shard.deadline("bob") == shard.connections("bob")[f"{OTHER}:1"]
    keys = shard.keys
    assert shard.client.zrange(keys.gateways, 0, -1) == [OTHER]
    gone = {keys.gateway_users(GATEWAY), keys.gateway_events(GATEWAY)}
    assert not gone & shard.all_keys()


def test_released_connections_keep_their_grace_through_reaping(shard):
    """A client whose gateway went down properly is on the way to another one."""
    shard.heartbeat("ann")
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    shard.release("ann", 1, grace_ms=GRACE_MS)
    shard.kill_gateway(GATEWAY)
    assert shard.gateways.reap(GATEWAY) == ["ann"]
    assert set(shard.connections("ann")) == {f"{GATEWAY}:1:released"}
    assert shard.deadline("ann") == shard.connections("ann")[f"{GATEWAY}:1:released"]
    assert shard.expire("ann") == []
    assert shard.connect("ann", gateway=OTHER).transitions == []


def test_reaping_twice_or_an_unknown_gateway(shard):
    shard.connect("ann")
    shard.kill_gateway(GATEWAY)
    assert shard.gateways.reap(GATEWAY) == ["ann"]
    assert shard.gateways.reap(GATEWAY) == []
    assert shard.gateways.reap("never:was") == []
    assert shard.store.due().gateway_ids == []


def test_reaping_more_than_one_batch(shard):
    users = [f"u{number}" for number in range(2 * SCRIPT_BATCH + 9)]
    shard.store.connect(
        GATEWAY, [LiveConnection(user, f"{GATEWAY}:{user}") for user in users]
    )
    shard.kill_gateway(GATEWAY)
    assert sorted(shard.gateways.reap(GATEWAY)) == sorted(users)
    assert len(shard.expire(*users)) == len(users)


def test_a_gateway_that_comes_back_registers_anew(shard):
    """Stalled for longer than its TTL, reaped, and alive after all."""
    shard.heartbeat("ann")
    shard.connect("ann")
    shard.kill_gateway(GATEWAY)
    shard.gateways.reap(GATEWAY)
    reply = shard.gateways.heartbeat(GATEWAY, [LiveConnection("ann", f"{GATEWAY}:1")])
    assert reply.lapsed
    assert [sign.user_id for sign in reply.gone] == ["ann"]
    assert shard.connect("ann").transitions == []  # nobody expired it in between
    assert shard.holds("ann")
    assert shard.expire("ann") == []


def test_users_who_went_offline_before_are_reaped_without_a_trace(shard):
    shard.connect("ann")
    shard.let_pass(TTL_MS + 1, "ann")
    shard.expire("ann")
    shard.kill_gateway(GATEWAY)
    assert shard.gateways.reap(GATEWAY) == ["ann"]
    assert shard.deadline("ann") is None
    assert shard.expire("ann") == []


def test_forget_leaves_nothing(shard):
    shard.connect("ann")
    shard.heartbeat("ann")
    shard.presence.gateway_streams.publish(
        {GATEWAY: GatewayMessage(snapshots=("ann",))}
    )
    shard.release("ann")
    shard.expire("ann")
    shard.gateways.forget(GATEWAY)
    assert not [key for key in shard.all_keys() if "gateway" in key]


# Who holds whom, and how they are reached


def test_holders(shard):
    streams = shard.presence.gateway_streams
    assert streams.holders(["ann"]) == {}
    shard.connect("ann")
    shard.connect("ann", 2)
    shard.connect("ann", gateway=OTHER)
    shard.connect("bob", gateway=OTHER)
    asked = {"ann", "bob", "cid"}
    assert streams.holders(asked) == {GATEWAY: {"ann"}, OTHER: {"ann", "bob"}}
    assert streams.holders(iter(["cid"])) == {}
    assert streams.holders([]) == {}


def test_holders_counts_gateways_that_are_merely_stalled(shard):
    shard.connect("ann")
    shard.kill_gateway(GATEWAY)
    assert shard.presence.gateway_streams.holders(["ann"]) == {GATEWAY: {"ann"}}
    shard.gateways.reap(GATEWAY)
    assert shard.presence.gateway_streams.holders(["ann"]) == {}


def test_a_grace_is_held_by_nobody(shard):
    holders = shard.presence.gateway_streams.holders
    shard.connect("ann")
    shard.connect("ann", gateway=OTHER)
    shard.release("ann", grace_ms=GRACE_MS)
    assert shard.is_online("ann")
    assert holders(["ann"]) == {OTHER: {"ann"}}
    shard.release("ann", gateway=OTHER, grace_ms=GRACE_MS)
    assert holders(["ann"]) == {}
    assert shard.is_online("ann")


def test_a_connection_that_names_no_gateway_is_passed_over(shard):
    shard.connect("ann")
    for user in ("ann", "bob"):
        shard.client.zadd(shard.keys.user_connections(user), {"foreign": 1})
    assert shard.presence.gateway_streams.holders(["bob", "ann"]) == {GATEWAY: {"ann"}}


def test_holders_of_more_than_one_batch(shard):
    users = [f"u{number}" for number in range(SCRIPT_BATCH * 2 + 1)]
    for user in users[::3]:
        shard.connect(user)
    for user in users[-1], users[0]:
        shard.connect(user, gateway=OTHER)
    assert shard.presence.gateway_streams.holders(users) == {
        GATEWAY: set(users[::3]),
        OTHER: {users[0], users[-1]},
    }


def message(user: str) -> GatewayMessage:
    return GatewayMessage(transitions=(Delivery(Transition(user, "online", 1), "b"),))


def test_messages_are_read_in_order_from_the_last_id(shard):
    streams = shard.presence.gateway_streams
    streams.publish({})
    assert shard.all_keys() == set()
    streams.publish({GATEWAY: message("a"), OTHER: message("b")})
    streams.publish({GATEWAY: message("c")})
    assert len(streams.read(GATEWAY, "0-0", 10, limit=1).messages) == 1
    ((first_id, first), (second_id, second)) = streams.read(GATEWAY, "0-0", 10).messages
    assert (first, second) == (message("a"), message("c"))
    assert streams.read(GATEWAY, first_id, 10) == StreamRead(
        [(second_id, second)], gone=1
    )
    assert streams.read(GATEWAY, second_id, 10) == StreamRead([], gone=2)
    assert [data for _, data in streams.read(OTHER, "0-0", 10).messages] == [
        message("b")
    ]


def test_what_was_read_is_deleted(shard):
    streams, stream = shard.presence.gateway_streams, shard.keys.gateway_events(GATEWAY)
    for user in ("a", "b", "c"):
        streams.publish({GATEWAY: message(user)})
    (_, (second_id, _), _) = streams.read(GATEWAY, "0-0", 10).messages
    streams.read(GATEWAY, second_id, 10)
    assert shard.client.xlen(stream) == 1


def test_only_an_added_message_puts_off_the_end_of_a_stream(client):
    """Where Redis takes no message, a stream that nobody reads has to expire."""
    shard = Shard.open(client)
    stream = shard.keys.gateway_events(GATEWAY)
    shard.presence.gateway_streams.publish({GATEWAY: message("a")})
    assert STREAM_TTL_MS - 5000 < client.pttl(stream) <= STREAM_TTL_MS
    client.pexpire(stream, 60_000)
    client.execute_command("XSETID", stream, f"{2**64 - 1}-{2**64 - 1}")
    with pytest.raises(CommandRefused):
        shard.presence.gateway_streams.publish({GATEWAY: message("b")})
    assert client.pttl(stream) <= 60_000
    shard.remove()


def test_a_full_redis_still_passes_on_what_frees_its_memory(client):
    """The outbox is drained into the streams, and those are read."""
    shard = Shard.open(client)
    shard.connect("ann")
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(PresenceUnavailable):
            shard.connect("bob")
        (entry,) = shard.outbox.take("me")
        shard.presence.gateway_streams.publish({GATEWAY: message("ann")})
        ((entry_id, _),) = shard.presence.gateway_streams.read(
            GATEWAY, "0-0", 10
        ).messages
        assert shard.presence.gateway_streams.read(GATEWAY, entry_id, 1).gone == 1
        assert shard.outbox.release_lease("me", [entry])
    finally:
        client.config_set("maxmemory", 0)
    assert shard.outbox.length() == 0
    shard.remove()


@pytest.mark.parametrize(
    "fields",
    [
        {"m": "[1]"},
        {"m": ""},
        {"m": b"\xff"},
        {"v1": '[[["a","away",1,"b"]],[],[],[]]'},
        {"v1": '[[["a","online",1e400,"b"]],[],[],[]]'},
        {"v1": "[[],[],[7],[]]"},
        {f"v{VERSION + 1}": "[[],[],[],[]]"},
        {"v99999999999999999999": "[]"},
        {"x": "y"},
        {b"\xff": b"\xff"},
    ],
)
def test_a_message_that_cannot_be_read_is_one_of_many(shard, fields):
    """Old workers send messages that we do read, as `m`."""
    streams, stream = shard.presence.gateway_streams, shard.keys.gateway_events(GATEWAY)
    streams.publish({GATEWAY: message("a")})
    shard.client.xadd(stream, fields)
    shard.client.xadd(stream, {"m": message("b").encode()})
    shard.client.xadd(stream, {"m": '[[["c","online",1,["b"]]],[],[],[]]'})
    first, bad, *others = (
        data for _, data in streams.read(GATEWAY, "0-0", 10).messages
    )
    assert isinstance(bad, UnreadableMessage)
    assert [first, *others] == [message("a"), message("b"), message("c")]


def test_a_gateway_of_the_time_before_versions_is_named_once(shard, caplog):
    streams, new = shard.presence.gateway_streams, f"{GATEWAY}-v1"
    for _ in range(2):
        streams.publish({OTHER: message("a"), new: message("b")})
    (line,) = caplog.messages
    assert OTHER in line


def test_a_stream_that_is_none_is_replaced(shard):
    streams, stream = shard.presence.gateway_streams, shard.keys.gateway_events(GATEWAY)
    for act in (lambda: None, lambda: streams.read(GATEWAY, "0-0", 1)):
        shard.client.set(stream, "somebody else's")
        act()
        streams.publish({GATEWAY: message("a")})
        ((_, found),) = streams.read(GATEWAY, "0-0", 10).messages
        assert found == message("a")
        shard.client.delete(stream)


def test_reading_waits_no_longer_than_asked(shard):
    started = time.monotonic()
    assert shard.presence.gateway_streams.read(GATEWAY, "0-0", 60) == StreamRead(
        [], gone=0
    )
    assert 0.05 <= time.monotonic() - started < 2


def test_streams_are_trimmed_and_expire(shard):
    stream = shard.keys.gateway_events(GATEWAY)
    with shard.client.pipeline(transaction=False) as pipe:
        for _ in range(MAX_STREAM_LENGTH + 500):
            pipe.xadd(stream, {"m": ""})
        pipe.execute()
    shard.presence.gateway_streams.publish({GATEWAY: message("a")})
    assert (
        shard.client.xlen(stream) <= MAX_STREAM_LENGTH + 100
    )  # trimmed by whole nodes
    assert STREAM_TTL_MS - 5000 < shard.client.pttl(stream) <= STREAM_TTL_MS
