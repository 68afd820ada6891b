"""Shards on a Redis Cluster: each lies in one slot, so on one node.

redis-py's cluster client is used for the map of slots alone. Its pipelines take no
scripts, and one node that is away makes it try again in ways that hold up the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterError,
    ConnectionError,  # noqa: A004 - the library's name for it
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - the same
    TryAgainError,
)

from models.presence.errors import PresenceUnavailable, translated
from models.presence.redis.backend import Answers, dealt
from models.presence.redis.pool import KeepingPool
from models.presence.redis.roundtrip import Command, ask, packed, replies, whole
from models.presence.redis.scripts import pipelined

log = logging.getLogger(__name__)

T = TypeVar("T")

SLOW = 1.0
"""Seconds after which a node that did not answer is not waited for again at once."""
REST = 3.0
"""That many times as long as it was waited for, `gather` leaves a slow node out."""

# The node is away, or another one holds the slot now.
LOST = (
    ClusterError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,
)


class NodeClient(redis.Redis):
    """A client of one node. A command whose slot is just moving to another one is
    followed there, as `ask` does."""

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As the library's."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except MovedError:
            raise
        except (AskError, TryAgainError):
            (reply,) = ask(self, [args])
            parse = self.response_callbacks.get(args[0])  # type: ignore[no-untyped-call]
            return parse(reply) if parse else reply


class Cluster:
    """Which node holds which slot now, and a client of each node."""

    def __init__(
        self, hosts: Iterable[tuple[str, int]], options: Mapping[str, Any], *, tls: bool
    ) -> None:
        self._hosts = tuple(hosts)
        self._options = options
        # Only with a URL does the library make its nodes with another kind of pool.
        (host, port), scheme = self._hosts[0], "rediss" if tls else "redis"
        self._url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._map: RedisCluster | None = None
        self._clients: dict[redis.ConnectionPool, NodeClient] = {}
        self._asked_at = 0.0
        self._lock = threading.Lock()

    def client_of(self, slot: int) -> redis.Redis:
        """A client of the node that holds `slot`. Bounded like a client of one server.

        Raises:
            redis.exceptions.RedisClusterException: no node answers, or none holds it.
        """
        known = self._map or self._connected()
        node = known.nodes_manager.get_node_from_slot(slot)
        pool = known.get_redis_connection(node).connection_pool
        client = self._clients.get(pool)
        if client is None:
            client = self._clients[pool] = NodeClient(connection_pool=pool)
        return client

    def refresh(self, slot: int, since: float) -> None:
        """Ask for the map anew, as the node of `slot` did not answer or has lost it,
        unless that was done `since` then (monotonic seconds)."""
        with self._lock:
            if self._map is None or self._asked_at > since:
                return
            nodes = self._map.nodes_manager
            self._clients.clear()  # some nodes may be gone
            try:
                failed = nodes.get_node_from_slot(slot).name
                nodes.initialize(
                    disconnect_startup_nodes_pools=False,
                    last_failed_node_name=failed,  # is asked last: it may stand still
                )
            except RedisError as error:
                log.debug("no map of the cluster: %s", error)
                # All nodes that it knew are away. They may have moved: begin anew with
                # those of the settings.
                self._map = None
            self._asked_at = time.monotonic()

    def _connected(self) -> RedisCluster:
        with self._lock:
            if self._map is None:
                others = [ClusterNode(*host) for host in self._hosts[1:]]  # type: ignore[no-untyped-call]
                self._map = RedisCluster(
                    url=self._url,
                    startup_nodes=others,
                    require_full_coverage=False,
                    connection_pool_class=KeepingPool,
                    **self._options,
                )
                self._asked_at = time.monotonic()
            return self._map


class ClusterServers:
    """The nodes of a cluster as the servers of the shards."""

    def __init__(self, cluster: Cluster, prefixes: Sequence[str]) -> None:
        self._cluster = cluster
        self._slots = [key_slot(prefix.encode()) for prefix in prefixes]
        self._rests_until: dict[int, float] = {}

    def call(self, shard: int, command: Callable[[redis.Redis], T]) -> T:
        """As `Servers.call`. Where the node is away, or has lost the slot, the map is
        asked anew and the command tried again, once."""
        slot, began = self._slots[shard], time.monotonic()
        with translated:
            try:
                return command(self._cluster.client_of(slot))
            except TimeoutError:
                self._cluster.refresh(slot, began)
                raise  # that was long enough
            except LOST:
                self._cluster.refresh(slot, began)
                return command(self._cluster.client_of(slot))

    def gather(
        self, commands: Mapping[int, Sequence[Command]], scripts: Collection[str] = ()
    ) -> Answers:
        """As `Servers.gather`: one round trip to all nodes at the same time. A node
        that made us wait in vain is left out for a while, so that it does not hold up
        the others each time."""
        began = time.monotonic()
        asked = {
            shard: mine
            for shard, mine in commands.items()
            if self._rests_until.get(shard, 0.0) <= began
        }
        answers = Answers({}, {shard: _resting() for shard in commands.keys() - asked})
        failed = self._ask(asked, scripts, answers)
        waited = time.monotonic() - began
        if failed:
            self._cluster.refresh(self._slots[next(iter(failed))], began)
        if failed and waited < SLOW:
            again = {shard: asked[shard] for shard in failed}
            failed = self._ask(again, scripts, answers)
        for shard, error in failed.items():
            answers.away[shard] = error
            if waited >= SLOW:
                self._rests_until[shard] = time.monotonic() + REST * waited
        return answers

    def _ask(
        self,
        commands: Mapping[int, Sequence[Command]],
        scripts: Collection[str],
        answers: Answers,
    ) -> dict[int, PresenceUnavailable]:
        """Put what answers into `answers`, and say what does not."""
        failed: dict[int, PresenceUnavailable] = {}
        nodes: dict[redis.Redis, dict[int, Sequence[Command]]] = {}
        for shard, mine in commands.items():
            try:
                with translated:
                    client = self._cluster.client_of(self._slots[shard])
            except PresenceUnavailable as error:
                failed[shard] = error
            else:
                nodes.setdefault(client, {})[shard] = mine
        # In one order for everybody, so that no two wait for each other's connection.
        lines = [Line(client, nodes[client]) for client in sorted(nodes, key=_place)]
        try:
            for line in lines:
                line.send()
            for line in lines:
                try:
                    answers.replies.update(line.receive())
                except PresenceUnavailable as error:
                    failed |= dict.fromkeys(line.commands, error)
        finally:
            for line in lines:  # an error may have kept some from being read
                line.give_back()
        for shard in commands.keys() - failed.keys():
            try:
                answers.replies[shard] = self._settled(
                    shard, commands[shard], answers.replies.pop(shard), scripts
                )
            except PresenceUnavailable as error:
                failed[shard] = error
        return failed

    def _settled(
        self,
        shard: int,
        commands: Sequence[Command],
        found: list[Any],
        scripts: Collection[str],
    ) -> list[Any]:
        """The replies `found` to the `commands` of `shard`. They are sent again where
        its slot is moving, or its node does not know the scripts."""
        with translated:
            try:
                return whole(found)
            except (AskError, NoScriptError, TryAgainError):
                pass
        return self.call(shard, lambda client: pipelined(client, commands, scripts))


class Line:
    """A connection to one node, for one round trip: all that is to be sent, first."""

    def __init__(
        self, client: redis.Redis, commands: Mapping[int, Sequence[Command]]
    ) -> None:
        self.commands = commands
        self._client = client
        self._together = list(chain.from_iterable(commands.values()))
        self._connection: Any = None
        self._unread = True
        self._error: PresenceUnavailable | None = None

    def send(self) -> None:
        """Send the commands. Where that fails, `receive` tells."""
        try:
            with translated:
                self._connection = self._client.connection_pool.get_connection()
                self._connection.send_packed_command(packed(self._together))
        except PresenceUnavailable as error:
            self._error = error
            self.give_back()

    def receive(self) -> dict[int, list[Any]]:
        """The replies by shard. One that is an error is in its place.

        Raises:
            PresenceUnavailable: the node is away.
        """
        if self._error is not None:
            raise self._error
        with translated:
            try:
                found = replies(self._connection, len(self._together))
                self._unread = False
            finally:
                self.give_back()
        return dealt(self.commands, found)

    def give_back(self) -> None:
        """Give the connection back to its pool; again does nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._unread:
            connection.disconnect()
        self._client.connection_pool.release(connection)


def _place(client: redis.Redis) -> tuple[str, int]:
    options = client.get_connection_kwargs()
    return str(options["host"]), int(options["port"])


def _resting() -> PresenceUnavailable:
    message = "Redis is not available: a node did not answer just now"
    return PresenceUnavailable(message)
