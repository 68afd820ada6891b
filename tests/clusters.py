"""Several real servers that belong together: a cluster, and a primary with replicas
and sentinels."""

from __future__ import annotations

import shlex

import redis

from tests.servers import RedisServer, any_server_command, free_port
from tests.system import wait_until

SLOTS = 16384


class Apart:
    """One server for the state, another for Celery."""

    def __init__(self) -> None:
        self.state, self.broker = (RedisServer(any_server_command()) for _ in range(2))
        self.url, self.broker_url = self.state.url, self.broker.url

    def start(self) -> None:
        """Start both."""
        self.state.start()
        self.broker.start()

    def close(self) -> None:
        """End both."""
        self.state.close()
        self.broker.close()


class WithRights:
    """Servers on which we are a user who may do no more than `rights` say: the commands
    that make the user of the state and that of the broker. One server for both, or one
    for each."""

    def __init__(self, binary: str, rights: tuple[str, str], *, together: bool) -> None:
        self.state = RedisServer(binary)
        self.broker = self.state if together else RedisServer(binary)
        self._rights = rights
        names = [shlex.split(one)[2] for one in rights]
        if together:  # one user: the rights add up
            self._rights = (rights[0], rights[1].replace(names[1], names[0], 1))
            names[1] = names[0]
        self.url, self.broker_url = (
            f"redis://{name}:PASSWORD@127.0.0.1:{server.port}/0"
            for name, server in zip(names, (self.state, self.broker), strict=True)
        )

    def start(self) -> None:
        """Start them, and make the users."""
        for server in {self.state, self.broker}:
            server.start()
        for server, command in zip(
            (self.state, self.broker), self._rights, strict=True
        ):
            with server.client() as client:
                client.execute_command(*shlex.split(command))

    def denied(self) -> list[str]:
        """What we were not allowed, and asked for."""
        found = []
        for server in {self.state, self.broker}:
            with server.client() as client:
                found += [f"{e['reason']} {e['object']}" for e in client.acl_log()]
        return found

    def close(self) -> None:
        """End them."""
        self.state.close()
        self.broker.close()


class ClusterOfServers:
    """A cluster of primaries without replicas, each with a third of the slots (or with
    what their number makes of it). A node that dies takes its slots along until it is
    started again; the others go on."""

    def __init__(self, primaries: int = 3) -> None:
        self.nodes = [
            RedisServer(
                any_server_command(),
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
                *("--cluster-port", str(free_port())),
                *("--cluster-require-full-coverage", "no"),
            )
            for _ in range(primaries)
        ]
        self.broker = RedisServer(any_server_command())
        self.broker_url = self.broker.url

    @property
    def url(self) -> str:
        """What `REDIS_URL` takes: two of the nodes are enough."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def start(self) -> None:
        """Start the nodes, make them one, and wait until they all know that."""
        for node in (*self.nodes, self.broker):
            node.start()
        first, *others = [node.client() for node in self.nodes]
        for number, client in enumerate((first, *others)):
            each = SLOTS / len(self.nodes)
            begin, end = round(each * number), round(each * (number + 1)) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            bus = node.option("--cluster-port")
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for client in (first, *others):
            wait_until(lambda client=client: self._is_whole(client), 20)
            client.close()

    def _is_whole(self, client: redis.Redis) -> bool:
        info = client.execute_command("CLUSTER INFO")
        return (
            info["cluster_state"] == "ok"
            and int(info["cluster_known_nodes"]) == len(self.nodes)
            and int(info["cluster_slots_assigned"]) == SLOTS
        )

    def holder(self, key: str) -> RedisServer:
        """The node that holds `key`."""
        slot = redis.crc.key_slot(key.encode())
        return self.nodes[int(slot // (SLOTS / len(self.nodes)))]

    def move_slot_of(self, key: str, source: RedisServer, target: RedisServer) -> None:
        """Move the slot of `key`, with all keys in it, from one node to another."""
        move = SlotMove(key, source, target)
        move.begin()
        move.keys()
        move.end()

    def close(self) -> None:
        """End all nodes."""
        for node in (*self.nodes, self.broker):
            node.close()


class SlotMove:
    """The steps in which the slot of `key` moves, with all keys in it, from one node of
    a cluster to another. Between them the source answers ASK or TRYAGAIN."""

    def __init__(self, key: str, source: RedisServer, target: RedisServer) -> None:
        self._slot = redis.crc.key_slot(key.encode())
        self._target = target
        self._here, self._there = source.client(), target.client()

    def begin(self) -> None:
        """Tell both nodes."""
        ids = [self._id(one) for one in (self._here, self._there)]
        self._set(self._there, "IMPORTING", ids[0])
        self._set(self._here, "MIGRATING", ids[1])

    def keys(self) -> None:
        """Move the keys."""
        listed = ("CLUSTER", "GETKEYSINSLOT", self._slot, 1000)
        while keys := self._here.execute_command(*listed):
            self._here.migrate("127.0.0.1", self._target.port, keys, 0, 5000)

    def end(self) -> None:
        """The slot belongs to the target from now on. Again does nothing."""
        for one in (self._there, self._here):
            self._set(one, "NODE", self._id(self._there))

    def _set(self, client: redis.Redis, state: str, node: str) -> None:
        client.execute_command("CLUSTER", "SETSLOT", self._slot, state, node)

    def _id(self, client: redis.Redis) -> str:
        return str(client.execute_command("CLUSTER", "MYID"))


class Sentinels:
    """A primary, a replica, and three sentinels of which two have to agree."""

    group = "presence"

    def __init__(self) -> None:
        self.servers = [RedisServer(any_server_command()) for _ in range(2)]
        self.sentinels = [
            RedisServer(any_server_command(), "--sentinel") for _ in range(3)
        ]
        self.broker = self.servers[0]

    @property
    def broker_url(self) -> str:
        """Celery asks the sentinels as well."""
        return self.url

    @property
    def url(self) -> str:
        """What `REDIS_URL` takes."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.group}"

    def start(self) -> None:
        """Start everything, and wait until a failover would succeed."""
        primary, replica = self.servers
        for server in self.servers:
            server.start()
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        for sentinel in self.sentinels:
            sentinel.start()
            with sentinel.client() as client:
                client.sentinel_monitor(self.group, "127.0.0.1", primary.port, 2)
                client.sentinel_set(self.group, "down-after-milliseconds", 1000)
                client.sentinel_set(self.group, "failover-timeout", 3000)
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                wait_until(lambda client=client: self._knows_all(client), 20)

    def _knows_all(self, client: redis.Redis) -> bool:
        state = client.sentinel_master(self.group)
        assert isinstance(state, dict)
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)

    def primary(self) -> RedisServer:
        """The server that the first sentinel calls primary."""
        with self.sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(self.group)
        (found,) = [one for one in self.servers if one.port == port]
        return found

    def close(self) -> None:
        """End everything."""
        for server in (*self.sentinels, *self.servers):
            server.close()
