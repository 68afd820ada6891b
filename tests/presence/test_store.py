"""Connecting and reading: what the scripts change, and what they promise of it."""

from __future__ import annotations

import pytest
import redis

from models.batches import batches
from models.events import UserStatus
from models.presence.batches import SCRIPT_BATCH
from models.presence.store import LiveConnection
from tests.presence.shard import GATEWAY, OTHER, TTL_MS, Shard

pytestmark = pytest.mark.integration


def test_first_connection_makes_online(shard):
    before = shard.now()
    reply = shard.connect("ann")
    after = shard.now()

    (transition,) = reply.transitions
    assert (transition.user_id, transition.status) == ("ann", "online")
    assert before <= transition.timestamp <= after
    assert reply.needs_drain
    assert not reply.refused
    assert shard.is_online("ann")
    assert shard.transitions() == [transition]
    assert shard.hash("ann") == {
        "status": "online",
        "last_seen": str(transition.timestamp),
        "updated_at": str(transition.timestamp),
    }
    deadline = transition.timestamp + TTL_MS
    assert shard.connections("ann") == {f"{GATEWAY}:1": deadline}
    assert shard.deadline("ann") == deadline
    assert shard.holds("ann")


def test_keys_of_an_online_user_expire_by_themselves(shard):
    shard.connect("ann")
    assert TTL_MS - 5000 < shard.hash_ttl("ann") <= TTL_MS
    assert 1 <= shard.client.ttl(shard.keys.user_status("ann")) <= 60
    connections_ttl = shard.client.pttl(shard.keys.user_connections("ann"))
    assert 5 * TTL_MS < connections_ttl <= 6 * TTL_MS


def test_what_has_no_ttl_is_what_the_contract_says(shard):
    shard.connect("ann")
    shard.heartbeat("ann")
    forever = {key for key in shard.all_keys() if shard.client.ttl(key) == -1}
    keys = shard.keys
    assert forever == {
        keys.online_users,
        keys.deadlines,
        keys.transitions,
        keys.gateways,
        keys.gateway_users(GATEWAY),
    }


def test_second_device_is_no_transition(shard):
    first = shard.connect("ann", 1)
    second = shard.connect("ann", 2, gateway=OTHER)
    assert second.transitions == []
    assert not second.needs_drain
    assert shard.transitions() == first.transitions
    assert set(shard.connections("ann")) == {f"{GATEWAY}:1", f"{OTHER}:2"}
    assert shard.holds("ann", GATEWAY)
    assert shard.holds("ann", OTHER)


def test_connect_may_be_repeated(shard):
    first = shard.connect("ann")
    again = shard.connect("ann")
    assert again.transitions == []
    assert len(shard.connections("ann")) == 1
    assert shard.hash("ann")["updated_at"] == str(first.transitions[0].timestamp)


def test_transitions_of_one_batch_come_in_its_order(shard):
    signs = [LiveConnection(f"u{number}", f"{GATEWAY}:{number}") for number in range(5)]
    reply = shard.store.connect(GATEWAY, [*signs, signs[0]])
    assert [transition.user_id for transition in reply.transitions] == [
        "u0",
        "u1",
        "u2",
        "u3",
        "u4",
    ]
    assert shard.transitions() == reply.transitions


def test_more_than_one_script_batch(shard):
    users = [f"u{number}" for number in range(2 * SCRIPT_BATCH + 7)]
    signs = [LiveConnection(user, f"{GATEWAY}:{user}") for user in users]
    reply = shard.store.connect(GATEWAY, signs)
    assert [transition.user_id for transition in reply.transitions] == users
    assert reply.needs_drain
    assert shard.client.scard(shard.keys.online_users) == len(users)
    assert shard.client.scard(shard.keys.gateway_users(GATEWAY)) == len(users)
    assert shard.transitions() == reply.transitions


def test_nothing_to_connect(shard):
    reply = shard.store.connect(GATEWAY, [])
    assert reply.transitions == []
    assert not reply.needs_drain
    assert shard.all_keys() == set()


@pytest.mark.parametrize(
    "user", ["a", "A-Z_0.9:@|+x", "x" * 128, "1", "status", "-1", "0", "nil"]
)
def test_user_ids_are_opaque(shard, user):
    (transition,) = shard.connect(user).transitions
    assert transition.user_id == user
    assert shard.presence.online([user]) == {user: True}
    shard.release(user)
    assert [transition.user_id for transition in shard.expire(user)] == [user]


# Ages: a sign of life that comes late counts from when it was given


def test_age_is_taken_off_the_deadline(shard):
    (transition,) = shard.connect("ann", age_ms=20_000).transitions
    assert shard.deadline("ann") == transition.timestamp + TTL_MS - 20_000
    assert int(shard.hash("ann")["last_seen"]) == transition.timestamp - 20_000
    assert shard.hash_ttl("ann") <= TTL_MS - 20_000


def test_an_old_sign_of_life_takes_no_deadline_back(shard):
    shard.connect("ann")
    deadline = shard.deadline("ann")
    shard.connect("ann", age_ms=50_000)
    assert shard.heartbeat("ann", age_ms=50_000)
    assert shard.connections("ann") == {f"{GATEWAY}:1": deadline}
    assert shard.deadline("ann") == deadline


@pytest.mark.parametrize("again", ["connect", "heartbeat"])
def test_an_old_sign_of_life_of_another_device_does_not_shorten_the_status(
    shard, again
):
    """A gateway that registers anew tells Redis of signs of life up to a TTL old. The
    status must live as long as the user's latest deadline."""
    shard.connect("ann", 1)
    shard.connect("ann", 2)
    getattr(shard, again)("ann", 2, age_ms=TTL_MS - 1)
    assert shard.hash_ttl("ann") > TTL_MS - 5000


# The limit


def test_connections_over_the_limit_are_refused(client):
    shard = Shard.open(client, max_connections_per_user=2)
    assert not shard.connect("ann", 1).refused
    assert not shard.connect("ann", 2).refused
    reply = shard.connect("ann", 3)
    assert reply.refused == {f"{GATEWAY}:3"}
    assert reply.transitions == []
    assert set(shard.connections("ann")) == {f"{GATEWAY}:1", f"{GATEWAY}:2"}
    # Known ones, and other users, are not refused.
    assert not shard.connect("ann", 2).refused
    assert not shard.connect("bob", 3).refused
    shard.remove()


def test_lapsed_connections_do_not_count_against_the_limit(client):
    shard = Shard.open(client, max_connections_per_user=1)
    shard.connect("ann", 1)
    shard.let_pass(TTL_MS + 1, "ann")
    assert not shard.connect("ann", 2).refused
    assert set(shard.connections("ann")) == {f"{GATEWAY}:2"}
    shard.remove()


def test_released_connections_do_not_count_against_the_limit(client):
    """A page that is reloaded comes back within the grace of its former self."""
    shard = Shard.open(client, max_connections_per_user=1)
    shard.connect("ann", 1)
    shard.release("ann", 1, grace_ms=3000)
    assert not shard.connect("ann", 2).refused
    assert shard.connect("ann", 3).refused
    shard.remove()


def test_a_refused_connection_makes_nobody_online(client):
    shard = Shard.open(client, max_connections_per_user=0)
    reply = shard.connect("ann")
    assert reply.refused == {f"{GATEWAY}:1"}
    assert not reply.needs_drain
    assert shard.all_keys() == set()


# Timestamps


def test_timestamps_strictly_increase_within_a_millisecond(shard):
    for _ in range(40):
        shard.connect("ann")
        shard.release("ann")
        shard.expire("ann")
    entries = shard.transitions()
    assert len(entries) == 80
    assert [entry.status for entry in entries] == ["online", "offline"] * 40
    times = [entry.timestamp for entry in entries]
    assert times == sorted(set(times))


def test_timestamps_strictly_increase_after_the_clock_stepped_back(shard):
    ahead = shard.now() + 500_000
    (first,) = shard.connect("ann").transitions
    shard.client.hset(shard.keys.user_status("ann"), "updated_at", ahead)
    shard.release("ann")
    (offline,) = shard.expire("ann")
    (online,) = shard.connect("ann").transitions
    assert first.timestamp < offline.timestamp == ahead + 1
    assert online.timestamp == ahead + 2


def test_a_timestamp_from_the_future_is_remembered_until_it_is_past(shard):
    """The clock may step back by more than the TTL. A hash that expired after its usual
    time would then take the newest timestamp along. Every consumer would drop what
    comes next as old."""
    ahead = shard.now() + 3 * TTL_MS
    shard.connect("ann")
    shard.client.hset(shard.keys.user_status("ann"), "updated_at", ahead)
    shard.release("ann")
    shard.expire("ann")
    (online,) = shard.connect("ann").transitions
    assert online.timestamp == ahead + 2
    shard.heartbeat("ann")
    shard.connect("ann", 2)
    expires_at = shard.client.pexpiretime(shard.keys.user_status("ann"))
    assert expires_at > online.timestamp


# A status that is lost while its user stays online


def test_connect_rebuilds_an_expired_status(shard):
    (online,) = shard.connect("ann").transitions
    shard.client.delete(shard.keys.user_status("ann"))
    assert shard.connect("ann", 2).transitions == []
    rebuilt = shard.hash("ann")
    assert rebuilt["status"] == "online"
    assert int(rebuilt["updated_at"]) >= online.timestamp
    assert 0 < shard.hash_ttl("ann") <= TTL_MS


# Reading


def test_statuses_of_all_kinds_of_users_in_order(shard):
    (online,) = shard.connect("on").transitions
    shard.connect("off")
    shard.release("off")
    (offline,) = shard.expire("off")
    shard.connect("lost")
    shard.client.delete(shard.keys.user_status("lost"))
    last_seen = int(shard.hash("off")["last_seen"])
    assert shard.presence.statuses(["off", "never", "on", "lost", "on"]) == [
        UserStatus(
            "off", online=False, updated_at=offline.timestamp, last_seen=last_seen
        ),
        UserStatus("never", online=False, updated_at=0, last_seen=None),
        UserStatus(
            "on", online=True, updated_at=online.timestamp, last_seen=online.timestamp
        ),
        UserStatus("lost", online=True, updated_at=0, last_seen=None),
        UserStatus(
            "on", online=True, updated_at=online.timestamp, last_seen=online.timestamp
        ),
    ]


@pytest.mark.parametrize("count", [0, 1, SCRIPT_BATCH, 1200])
def test_reading_any_number_of_users(shard, count):
    users = [f"u{number}" for number in range(count)]
    online = users[::3]
    shard.store.connect(
        GATEWAY, [LiveConnection(user, f"{GATEWAY}:{user}") for user in online]
    )
    found = shard.presence.statuses(iter(users))
    assert [status.user_id for status in found] == users
    assert [status.user_id for status in found if status.online] == online
    assert shard.presence.online(iter(users)) == {
        user: user in online for user in users
    }


@pytest.mark.parametrize("method", ["statuses", "online"])
def test_reading_many_users_is_one_round_trip(shard, method, monkeypatch):
    read = getattr(shard.presence, method)
    read(["warm-up"])
    sent: list[object] = []
    real = redis.Connection.send_packed_command

    def send(connection, command, *args, **kwargs):
        sent.append(command)
        return real(connection, command, *args, **kwargs)

    monkeypatch.setattr(redis.Connection, "send_packed_command", send)
    read([f"u{number}" for number in range(1200)])
    assert len(sent) == 1


def test_reading_changes_nothing(shard):
    shard.connect("ann")
    before = shard.all_keys()
    shard.presence.statuses(["ann", "bob"])
    shard.presence.online(["ann", "bob"])
    shard.store.due()
    assert shard.all_keys() == before


def test_batches():
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []
    assert list(batches("ab", 2)) == [["a", "b"]]
