"""Greendot on more than one server: shards, a cluster that loses a node, a failover by
sentinels, and a broker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from config import Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.gateway_streams import FEW_GATEWAYS
from models.presence.keys import shard_number
from tests.clients import Client
from tests.clusters import Apart, ClusterOfServers, Sentinels
from tests.system import System, wait_until

pytestmark = pytest.mark.e2e

SHARDS = 6


def user_of(shard: int, name: str) -> str:
    """A user whose name begins with `name`, and who belongs to `shard`."""
    candidates = (f"{name}{number}" for number in range(1000))
    return next(one for one in candidates if shard_number(one, SHARDS) == shard)


@pytest.fixture
def system_on() -> Iterator[Callable[..., System]]:
    """Starts a whole Greendot on the servers that a test wants."""
    running: list[System] = []

    def start(**how: object) -> System:
        running.append(System(**how))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.close()


def presence_of(system: System) -> Presence:
    """The state of `system`, read as its own processes read it."""
    return Presence.open(Settings.from_env(system.environ))


def answers(presence: Presence, user_id: str, *, online: bool) -> bool:
    """Whether the state says so; not while a server of it is away."""
    try:
        return presence.online([user_id]) == {user_id: online}
    except PresenceUnavailable:
        return False


@pytest.mark.slow
def test_friends_in_all_shards_hear_each_other_once(system_on):
    system = system_on(PRESENCE_SHARDS=str(SHARDS))
    users = [user_of(shard, "ann") for shard in range(SHARDS)]
    for user in users:
        system.befriend(user, *(other for other in users if other != user))
    clients: list[Client] = []
    for number, user in enumerate(users):
        clients.append(Client(system, user, web=number % 2).opened())
    for number, client in enumerate(clients):
        came = {(user, "online") for user in users[number + 1 :]}
        heard = [client.expect("friend_status_changed") for _ in came]
        assert {(one["user_id"], one["status"]) for one in heard} == came
    clients[-1].send("leave")
    for client in clients[:-1]:
        client.expect_change(users[-1], "offline")
    # A silent user is expired by the sweep of its shard.
    clients[0].stop_beating()
    for client in clients[1:-1]:
        client.expect_change(users[0], "offline", 15)
        assert client.changes(0.2) == [], "nobody hears anything twice"
    assert not system.redis.exists("online_users"), "names without a prefix"
    for client in clients:
        client.close()


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_and_gets_it_back_empty(system_on):
    store = ClusterOfServers()
    system = system_on(store=store, PRESENCE_SHARDS=str(SHARDS))
    presence = presence_of(system)
    # What a gateway is told lies on one node: we can spare one that is neither's.
    wait_until(
        lambda: len(presence.gateway_streams.gateway_ids()) == len(system.web_ports)
    )
    homes = {
        shard_number(one, SHARDS) for one in presence.gateway_streams.gateway_ids()
    }
    needed = [store.holder(f"{{p{home}}}:") for home in homes]
    dead = next(node for node in store.nodes if node not in needed)
    lost, *_ = (s for s in range(SHARDS) if store.holder(f"{{p{s}}}:") is dead)
    kept = [s for s in range(SHARDS) if store.holder(f"{{p{s}}}:") is not dead]
    ann, bob, cid = (
        user_of(lost, "ann"),
        user_of(kept[0], "bob"),
        user_of(kept[1], "cid"),
    )
    system.befriend(ann, bob, cid)
    system.befriend(bob, cid)
    with (
        Client(system, ann).opened() as of_ann,
        Client(system, bob, web=1).opened() as of_bob,
    ):
        of_ann.expect_change(bob, "online")
        dead.kill()
        # The others go on: they come, hear each other, and go.
        with Client(system, cid).opened() as of_cid:
            of_bob.expect_change(cid, "online")
            assert presence.online([bob, cid]) == {bob: True, cid: True}
            of_cid.send("leave")
            of_bob.expect_change(cid, "offline")
        assert system.request("GET", "/readyz")[0] == 200
        dead.start()
        wait_until(lambda: answers(presence, ann, online=True), 20)
        # Whatever was missed is in a fresh snapshot.
        wait_until(lambda: status_of(of_ann, cid) == "offline", 20)
        assert status_of(of_bob, ann) == "online"
        of_bob.send("leave")
        of_ann.expect_change(bob, "offline")


def status_of(client: Client, user_id: str) -> str | None:
    """What the client knows of `user_id` by now."""
    client.changes(0.1)
    known: dict[str, dict[str, object]] = {}
    for frame in client.seen:
        if frame["event"] == "presence_snapshot":
            known = dict(frame["data"]["statuses"])
        elif frame["event"] == "friend_status_changed":
            known[frame["data"]["user_id"]] = frame["data"]
    return known.get(user_id, {}).get("status")


@pytest.mark.slow
def test_more_gateways_than_are_told_of_every_change(system_on):
    """Each gateway is told about the users that it holds, found by connection."""
    gateways = FEW_GATEWAYS + 2
    system = system_on(webs=1, WEB_CONCURRENCY=str(gateways))
    presence = presence_of(system)
    wait_until(lambda: len(presence.gateway_streams.gateway_ids()) == gateways, 20)
    ann, *others = users = [f"u{number}" for number in range(9)]
    system.befriend(ann, *others)
    with Client(system, "nobody").opened() as nobody:
        # The worker does not know yet how many there are, and tells all of them.
        with Client(system, ann).opened() as first:
            first.send("leave")
        clients = [Client(system, user).opened() for user in others]
        assert len(presence.gateway_streams.holders(users)) > 1, (
            "all are at one gateway"
        )
        with Client(system, ann).opened() as of_ann:
            for client in clients:
                client.expect_change(ann, "online")
            clients[0].send("leave")
            of_ann.expect_change(others[0], "offline")
            of_ann.send("leave")
        for client in clients[1:]:
            client.expect_change(ann, "offline")
            assert client.changes(0.1) == [], "nobody hears anything twice"
        assert nobody.changes(0.1) == []
        for client in clients:
            client.close()


@pytest.mark.slow
def test_sentinels_make_another_server_primary(system_on):
    store = Sentinels()
    system = system_on(store=store)
    presence = presence_of(system)
    system.befriend("ann", "bob", "cid")
    with Client(system, "ann").opened() as ann, Client(system, "bob", web=1).opened():
        ann.expect_change("bob", "online")
        before = store.primary()
        before.kill()
        wait_until(lambda: store.primary() is not before, 20)
        wait_until(lambda: answers(presence, "ann", online=True), 20)
        assert answers(presence, "bob", online=True)
        # Celery has found the new primary as well: what changes now is told.
        with Client(system, "cid", web=1).opened() as cid:
            wait_until(lambda: status_of(ann, "cid") == "online", 20)
            cid.send("leave")
            wait_until(lambda: status_of(ann, "cid") == "offline", 20)
        assert status_of(ann, "bob") == "online"


@pytest.mark.slow
def test_a_broker_of_its_own(system_on):
    store = Apart()
    system = system_on(store=store, webs=1)
    system.befriend("ann", "bob")
    with Client(system, "ann").opened() as ann, Client(system, "bob").opened():
        ann.expect_change("bob", "online")
    with store.state.client() as state, store.broker.client() as broker:
        assert state.sismember("online_users", "ann")
        assert not [key for key in state.scan_iter() if "kombu" in key]
        kombus = ("_kombu", "unacked", "greendot")
        assert all(key.startswith(kombus) for key in broker.scan_iter())
