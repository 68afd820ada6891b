"""The Redis servers behind the shards: one server (Sentinel included), or a cluster.

All keys of a shard are on one server. `run` is one round trip to that server. `gather`
asks many shards in the time of one round trip. Errors of redis-py end here: callers see
the errors of `models.presence.errors` instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

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
    ResponseError,
    TimeoutError,  # noqa: A004 - the same
    TryAgainError,
)

from models.presence.errors import PresenceUnavailable
from models.presence.redis.commands import Command
from models.presence.redis.errors import translated
from models.presence.redis.roundtrip import packed, read_replies, roundtrip

log = logging.getLogger(__name__)

SLOW_NODE_SECONDS = 1.0
"""A node that has not answered for so long is slow: `gather` does not retry it."""
PAUSE_FACTOR = 3.0
"""If `gather` has waited a time t for a slow node, it leaves the node out of all calls
for this factor times t."""

# Errors after which the map of slots may be out of date: the node does not answer, or
# another node holds the slot now.
_MAP_MAY_BE_OLD = (
    ClusterError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The result of `gather`: each shard has replies, or the reason why it has none."""

    replies: dict[int, list[Any]]
    errors: dict[int, PresenceUnavailable] = field(default_factory=dict)

    def all(self) -> dict[int, list[Any]]:
        """The replies of all shards.

        Raises:
            PresenceUnavailable: a shard did not answer.
        """
        for error in self.errors.values():
            raise error
        return self.replies

    def some(self) -> dict[int, list[Any]]:
        """The replies of the shards that answered.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        return self.replies or self.all()


class Backend(Protocol):
    """All servers of the presence state. It may send a command twice, so each command
    must be harmless when it is repeated."""

    def run(
        self, shard: int, commands: Sequence[Command], *, raw: bool = False
    ) -> list[Any]:
        """Send `commands` to the server of `shard` in one round trip and return their
        replies. Texts in the replies are decoded, unless `raw`. Commands of other
        clients may run between these commands.

        Raises:
            PresenceUnavailable: the server did not answer, or cannot serve now.
            CommandRefused: a reply is another error. This is the first one.
        """

    def gather(self, commands: Mapping[int, Sequence[Command]]) -> Gathered:
        """Do `run` for many shards at the same time. If a shard is unavailable, the
        result says so.

        Raises:
            CommandRefused: a reply is another error. This is the first one.
        """


class SingleServer:
    """One server, or the present primary behind sentinels, holds all shards."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def run(
        self, _shard: int, commands: Sequence[Command], *, raw: bool = False
    ) -> list[Any]:
        """See `Backend.run`."""
        try:
            return roundtrip(self._client, commands, raw=raw)
        except RedisError as error:
            raise translated(error) from error

    def gather(self, commands: Mapping[int, Sequence[Command]]) -> Gathered:
        """See `Backend.gather`."""
        try:
            together = list(chain.from_iterable(commands.values()))
            replies = roundtrip(self._client, together)
        except RedisError as error:
            return Gathered({}, dict.fromkeys(commands, _unavailable(error)))
        return Gathered(_by_shard(commands, replies))


class Cluster:
    """A Redis Cluster. Each shard is in one slot, so on one node.

    This class uses only the map of slots of redis-py's cluster client. That client's
    pipelines accept no scripts. If one node is down, that client's retries delay the
    calls to all other nodes.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        prefixes: Iterable[str],
        options: Mapping[str, Any],
        *,
        tls: bool,
    ) -> None:
        self._hosts = hosts
        self._slots = [key_slot(prefix.encode()) for prefix in prefixes]
        self._options = options
        # Only with a URL does the library accept a pool class for its nodes.
        (host, port), scheme = hosts[0], "rediss" if tls else "redis"
        self._url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._map: RedisCluster | None = None
        self._map_read_at = 0.0
        self._lock = threading.Lock()
        self._paused_until: dict[int, float] = {}

    def run(
        self, shard: int, commands: Sequence[Command], *, raw: bool = False
    ) -> list[Any]:
        """See `Backend.run`. If the node does not answer or no longer has the slot,
        read the map again, and send the commands to the node that has the slot now."""
        began = time.monotonic()
        try:
            try:
                return roundtrip(self._client_of(shard), commands, raw=raw)
            except TimeoutError:
                self._refresh(shard, began)
                raise  # the caller has waited long enough
            except _MAP_MAY_BE_OLD:
                self._refresh(shard, began)
                return roundtrip(self._client_of(shard), commands, raw=raw)
        except RedisError as error:
            raise translated(error) from error

    def gather(self, commands: Mapping[int, Sequence[Command]]) -> Gathered:
        """See `Backend.gather`: one round trip to all nodes at the same time. If a node
        is slow, the next calls leave it out for a while, so that it does not delay all
        of them."""
        began = time.monotonic()
        asked = {
            shard: mine
            for shard, mine in commands.items()
            if self._paused_until.get(shard, 0.0) <= began
        }
        result = Gathered({}, {shard: _paused() for shard in commands.keys() - asked})
        failed = self._gather_once(asked, result)
        waited = time.monotonic() - began
        if failed:
            self._refresh(next(iter(failed)), began)
        if failed and waited < SLOW_NODE_SECONDS:
            again = {shard: asked[shard] for shard in failed}
            failed = self._gather_once(again, result)
        for shard, error in failed.items():
            result.errors[shard] = error
            if waited >= SLOW_NODE_SECONDS:
                pause = PAUSE_FACTOR * waited
                self._paused_until[shard] = time.monotonic() + pause
        return result

    def _gather_once(
        self, commands: Mapping[int, Sequence[Command]], result: Gathered
    ) -> dict[int, PresenceUnavailable]:
        """Add the replies to `result`, and return the shards that did not answer."""
        found, failed = self._exchange(commands)
        for shard, replies in found.items():
            try:
                result.replies[shard] = self._with_retry(
                    shard, commands[shard], replies
                )
            except PresenceUnavailable as error:
                failed[shard] = error
        return failed

    def _exchange(
        self, commands: Mapping[int, Sequence[Command]]
    ) -> tuple[dict[int, list[Any]], dict[int, PresenceUnavailable]]:
        """Send all commands to all nodes, then read all replies. Returns the replies by
        shard, error replies included, and the errors of the shards that did not
        answer."""
        found: dict[int, list[Any]] = {}
        failed: dict[int, PresenceUnavailable] = {}
        nodes: dict[redis.Redis, dict[int, Sequence[Command]]] = {}
        for shard, mine in commands.items():
            try:
                nodes.setdefault(self._client_of(shard), {})[shard] = mine
            except RedisError as error:
                failed[shard] = _unavailable(error)
        unread: dict[redis.Redis, Any] = {}
        try:
            # All callers take their connections to the nodes in the same order.
            # Otherwise two callers could wait for each other.
            for client in sorted(nodes, key=_address):
                try:
                    unread[client] = client.connection_pool.get_connection()
                    together = list(chain.from_iterable(nodes[client].values()))
                    unread[client].send_packed_command(packed(together))
                except RedisError as error:
                    failed |= dict.fromkeys(nodes[client], _unavailable(error))
                    _give_up(client, unread)
            for client in list(unread):
                mine_here = nodes[client]
                try:
                    replies = read_replies(
                        unread[client], sum(map(len, mine_here.values()))
                    )
                except RedisError as error:
                    failed |= dict.fromkeys(mine_here, _unavailable(error))
                    _give_up(client, unread)
                else:
                    found |= _by_shard(mine_here, replies)
                    client.connection_pool.release(unread.pop(client))
        finally:
            for client in list(unread):  # only if an exception has ended the loop
                _give_up(client, unread)
        return found, failed

    def _with_retry(
        self, shard: int, commands: Sequence[Command], replies: list[Any]
    ) -> list[Any]:
        """Return `replies` if they contain no error. If the slot of `shard` is moving,
        or the node lacks a script, send all `commands` again and return the new
        replies.

        Raises:
            PresenceError: `replies` contain another error.
        """
        error = next((one for one in replies if isinstance(one, ResponseError)), None)
        if error is None:
            return replies
        is_moved = isinstance(error, MovedError)
        if not is_moved and isinstance(error, AskError | NoScriptError | TryAgainError):
            return self.run(shard, commands)
        raise translated(error) from error

    def _client_of(self, shard: int) -> redis.Redis:
        """A client of the node that holds `shard`.

        Raises:
            redis.exceptions.RedisClusterException: no node answers, or no node holds
                the slot of `shard`.
        """
        known = self._map or self._read_map()
        node = known.nodes_manager.get_node_from_slot(self._slots[shard])
        client: redis.Redis = known.get_redis_connection(node)
        return client

    def _read_map(self) -> RedisCluster:
        with self._lock:
            if self._map is None:
                others = [ClusterNode(*host) for host in self._hosts[1:]]  # type: ignore[no-untyped-call]
                self._map = RedisCluster(
                    url=self._url,
                    startup_nodes=others,
                    require_full_coverage=False,
                    **self._options,
                )
                self._map_read_at = time.monotonic()
            return self._map

    def _refresh(self, shard: int, since: float) -> None:
        """Read the map of slots again, because the node of `shard` did not answer or
        no longer has the slot. Do nothing if the map was read after the time `since`
        (monotonic seconds)."""
        with self._lock:
            if self._map is None or self._map_read_at > since:
                return
            nodes = self._map.nodes_manager
            try:
                failed = nodes.get_node_from_slot(self._slots[shard]).name
                nodes.initialize(
                    disconnect_startup_nodes_pools=False,
                    last_failed_node_name=failed,  # asked last, since it may hang
                )
            except RedisError as error:
                log.debug("the map of the cluster cannot be read: %s", error)
                # No known node answers. The nodes may have new addresses, so the next
                # call starts with the hosts of the settings.
                self._map = None
            self._map_read_at = time.monotonic()


def _by_shard(
    commands: Mapping[int, Sequence[Command]], replies: Sequence[Any]
) -> dict[int, list[Any]]:
    """Split `replies` by shard. They are in the order of `commands`."""
    rest = iter(replies)
    return {shard: [next(rest) for _ in mine] for shard, mine in commands.items()}


def _give_up(client: redis.Redis, connections: dict[redis.Redis, Any]) -> None:
    """Close the connection of `client` and give it back to its pool. It must not be
    used again, because it has unread replies."""
    connection = connections.pop(client, None)
    if connection is not None:
        connection.disconnect()
        client.connection_pool.release(connection)


def _unavailable(error: RedisError) -> PresenceUnavailable:
    """Translate `error`, which ended an exchange with a server.

    Raises:
        PresenceError: `error` does not mean that the server is unavailable.
    """
    translation = translated(error)
    if isinstance(translation, PresenceUnavailable):
        return translation
    raise translation from error


def _address(client: redis.Redis) -> tuple[str, int]:
    options = client.get_connection_kwargs()
    return str(options["host"]), int(options["port"])


def _paused() -> PresenceUnavailable:
    message = "Redis is not available: a node did not answer just now"
    return PresenceUnavailable(message)
