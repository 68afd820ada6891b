"""The state cut into shards: on one server, and on the nodes of a cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import redis

from config import Settings
from models.detail import Layer, Layers
from models.events import Delivery, GatewayMessage, Transition
from models.identifiers import joined_ids
from models.layer_ends import end_layers
from models.presence import Keys, Presence, PresenceUnavailable
from models.presence.keys import shard_number, shard_prefixes, split
from models.presence.redis import roundtrip
from models.presence.store import ClosedConnection, LiveConnection
from models.presence.tickets import Ticket
from models.sql.db import session_factory
from models.sql.presence_settings import (
    ended_layers,
    ensure_settings,
    put_settings,
)
from models.visibility import PresenceSettings
from tests.clusters import ClusterOfServers, SlotMove
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, OTHER
from tests.system import wait_until

ANN = Ticket("ann", 1_700_000_000, None)
SHARDS = 8
USERS = [f"u{number}" for number in range(1200)]


def test_a_shard_has_a_prefix_and_one_shard_has_none():
    assert shard_prefixes(1) == ("",)
    assert shard_prefixes(3) == ("{p0}:", "{p1}:", "{p2}:")


def test_users_keep_their_shard():
    """Another hash would be another place for everybody."""
    assert [shard_number(user, 1000) for user in ("ann", "bob", "é")] == [347, 104, 326]
    assert {shard_number(user, 1) for user in USERS} == {0}


def test_shards_are_about_equal():
    shares = [len(users) for users in split(USERS, SHARDS).values()]
    assert sum(shares) == len(USERS)
    assert min(shares) > len(USERS) / SHARDS / 2


def opened(url: str) -> Presence:
    return Presence.open(
        Settings.from_env(
            {
                "SECRET_KEY": "s" * 32,
                "REDIS_URL": url,
                "CELERY_BROKER_URL": "redis://unused",
                "PRESENCE_SHARDS": str(SHARDS),
            }
        )
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterOfServers]:
    cluster = ClusterOfServers()
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture(params=["one server", "cluster"])
def presence(request: pytest.FixtureRequest) -> Presence:
    """An empty state with the users in all shards, half of them at each gateway."""
    if request.param == "cluster":
        cluster = request.getfixturevalue("cluster")
        url, clients = cluster.url, [node.client() for node in cluster.nodes]
    else:
        url = request.getfixturevalue("valkey_url").removesuffix("/0") + "/9"
        clients = [redis.Redis.from_url(url)]
    for client in clients:
        client.flushdb()  # no other test uses this database
        client.script_flush()
        client.close()
    presence = opened(url)
    for number, users in split(USERS, SHARDS).items():
        shard = presence.shards[number]
        for gateway in (GATEWAY, OTHER):
            shard.gateways.heartbeat(gateway)
            here = [
                user for user in users if (user in at(GATEWAY)) == (gateway == GATEWAY)
            ]
            signs = [LiveConnection(user, f"{gateway}:{user}") for user in here]
            assert len(shard.store.connect(gateway, signs).transitions) == len(here)
    return presence


def at(gateway: str) -> set[str]:
    return set(USERS[::2]) if gateway == GATEWAY else set(USERS[1::2])


@pytest.mark.integration
def test_what_crosses_shards(presence):
    asked = [*USERS, "nobody"]
    assert [one.user_id for one in presence.statuses(iter(asked))] == asked
    assert [one.online for one in presence.statuses(asked)] == [True] * 1200 + [False]
    assert list(presence.online(asked)) == asked
    assert not presence.online(asked)["nobody"]
    streams = presence.gateway_streams
    for _ in range(2):  # the second time the gateways are known
        assert streams.holders(asked) == {GATEWAY: at(GATEWAY), OTHER: at(OTHER)}
    assert streams.holders(["u0"]) == {GATEWAY: {"u0"}}
    assert streams.gateway_ids() == {GATEWAY, OTHER}
    told = {one: GatewayMessage(snapshots=(one,)) for one in (GATEWAY, OTHER)}
    streams.publish(told)
    for gateway, message in told.items():
        ((_, found),) = streams.read(gateway, "0-0", 10).messages
        assert found == message
    ticket = presence.tickets.issue(ANN)
    assert presence.tickets.take(ticket) == ANN
    presence.check_writes()


@pytest.mark.integration
def test_every_shard_lives_by_itself(presence):
    shard = presence.shard_of("u0")
    gone = ClosedConnection("u0", f"{GATEWAY}:u0", 0)
    shard.store.release(GATEWAY, [gone])
    (transition,) = shard.store.expire(["u0"]).transitions
    assert transition.user_id == "u0"
    assert [one.outbox.length() for one in presence.shards] == [
        len(users) + (number == shard.number)
        for number, users in sorted(split(USERS, SHARDS).items())
    ]
    assert presence.online(["u0", "u1"]) == {"u0": False, "u1": True}
    shard.outbox.record_missed([1, 2])
    shard.outbox.record_missed([2])
    assert shard.outbox.has_missed()
    assert not presence.shards[shard.number - 1].outbox.has_missed()
    shard.outbox.clear_missed()
    assert not shard.outbox.has_missed()


@pytest.mark.integration
@pytest.mark.parametrize("presence", ["cluster"], indirect=True)
def test_a_node_that_stands_still_holds_up_the_others_once(presence, cluster):
    """And what it held is known to be away, not taken for offline."""
    stalled = cluster.nodes[0]
    away = {n for n in range(SHARDS) if cluster.holder(f"{{p{n}}}:") is stalled}
    assert away, "no shard lies on the first node"
    there = {user for user in USERS if shard_number(user, SHARDS) not in away}
    stalled.signal(signal.SIGSTOP)
    try:
        for _ in range(20):  # would take a hundred seconds if each waited for it
            found = presence.statuses_where_possible(USERS).found
            assert found.keys() == there
        held, missing = presence.gateway_streams.holders_where_possible(USERS)
        assert missing.keys() == away
        assert set().union(*held.values()) == there
        news = Delivery(Transition("u0", "online", 1), joined_ids(USERS))
        assert presence.gateway_streams.publish_to_all([news]).keys() == away
        for gateway in (GATEWAY, OTHER):
            if shard_number(gateway, SHARDS) not in away:
                ((_, found),) = presence.gateway_streams.read(
                    gateway, "0-0", 10
                ).messages
                assert found == GatewayMessage(transitions=(news,))
        with pytest.raises(PresenceUnavailable):
            presence.statuses(USERS)
        presence.check_writes()
    finally:
        stalled.signal(signal.SIGCONT)


@pytest.mark.integration
@pytest.mark.parametrize("presence", ["cluster"], indirect=True)
def test_a_slot_that_moved_is_found(presence, cluster):
    """A whole shard goes to another node, keys and all."""
    source, key = cluster.holder("{p0}:"), Keys("{p0}:").online_users
    target = next(node for node in cluster.nodes if node is not source)
    here = split(USERS, SHARDS)[0]
    cluster.move_slot_of(key, source, target)
    try:
        assert all(one.online for one in presence.statuses(here))
        assert len(presence.shards[0].store.expire(here).transitions) == 0
        assert presence.gateway_streams.holders(here)
    finally:
        cluster.move_slot_of(key, target, source)


@pytest.mark.integration
@pytest.mark.parametrize("presence", ["cluster"], indirect=True)
def test_a_slot_that_is_moving_is_followed(presence, cluster, monkeypatch):
    """Its node answers ASK for keys that have gone, TRYAGAIN where only some have."""
    monkeypatch.setattr(roundtrip, "TRIES", 100 * roundtrip.TRIES)
    source, key = cluster.holder("{p0}:"), Keys("{p0}:").online_users
    target = next(node for node in cluster.nodes if node is not source)
    here, shard = split(USERS, SHARDS)[0], presence.shards[0]
    gateway = next(f"g{n}" for n in range(999) if shard_number(f"g{n}", SHARDS) == 0)
    move = SlotMove(key, source, target)
    move.begin()
    with target.client() as there:
        there.config_resetstat()
        there.script_flush()

        def tried_again() -> bool:
            return "errorstat_TRYAGAIN" in there.info("errorstats")

        try:
            move.keys()
            # One key is there, and the map says that it is not.
            assert all(presence.online(USERS).values())
            shard.outbox.record_missed([3])
            presence.gateway_streams.publish(
                {gateway: GatewayMessage(snapshots=("u0",))}
            )
            assert presence.gateway_streams.read(gateway, "0-0", 10).messages
            tickets = [presence.tickets.issue(ANN) for _ in range(2 * SHARDS)]
            assert {presence.tickets.take(ticket) for ticket in tickets} == {ANN}
            # Of many some do not exist, so they may not have come yet.
            sign = LiveConnection("new", f"{GATEWAY}:new")
            with ThreadPoolExecutor(3) as threads:
                connected = threads.submit(shard.store.connect, GATEWAY, [sign])
                drained = threads.submit(shard.outbox.take, "token")
                read = threads.submit(presence.statuses, USERS)
                wait_until(tried_again)
                move.end()
                assert [one.user_id for one in connected.result().transitions] == [
                    "new"
                ]
                assert all(one.online for one in read.result())
                assert drained.result()
        finally:
            move.end()
            cluster.move_slot_of(key, target, source)
    assert presence.statuses(here)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("presence", ["cluster"], indirect=True)
def test_layers_end_though_a_node_stands_still(presence, cluster, tmp_path):
    """Those of its users end later."""
    users = USERS[:200]
    stalled = cluster.nodes[0]
    away = {n for n in range(SHARDS) if cluster.holder(f"{{p{n}}}:") is stalled}
    later = {user for user in users if shard_number(user, SHARDS) in away}
    assert 0 < len(later) < len(users)
    ended = PresenceSettings(layers=Layers(Layer(text="lunch", expires_at=1)))
    with friends_in(tmp_path, *pairwise(users)) as engine:
        with session_factory(engine)() as session:
            for user in users:
                ensure_settings(session, user)
                put_settings(session, user, ended)
            session.commit()
        stalled.signal(signal.SIGSTOP)
        try:
            assert end_layers(presence, engine, lambda _: None) == (
                len(users) - len(later)
            )
        finally:
            stalled.signal(signal.SIGCONT)

        def not_ended():
            with engine.connect() as reader:
                return ended_layers(reader, 2, len(users)).keys()

        assert not_ended() == later

        def all_have_ended():  # the client does not ask the node again at once
            end_layers(presence, engine, lambda _: None)
            return not not_ended()

        wait_until(all_have_ended, 60)  # the cluster may have given up the node
