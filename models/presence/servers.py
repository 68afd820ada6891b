"""The Redis servers themselves: what an operator must know about them.

No request needs this. It is for the check at a gateway's start and for `flask doctor`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from models.presence.errors import PresenceError
from models.presence.keys import Keys
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command, run_script

PINGS = 21
"""Round trips of which `ServerInfo.latency` is the median."""
ANSWER_TTL_MS = 60_000
NO_EVICTION = "noeviction"
_DENIED = re.compile(r"NOPERM|no permission|can't run this command|can't access")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server, as it describes itself."""

    product: str
    """`Valkey` or `Redis`."""
    version: tuple[int, ...]
    """The version of the protocol: Valkey 9 says 7.2.4 here."""
    latency: float
    """Milliseconds of one round trip, the median of several."""
    clock_ahead: float
    """Seconds by which its clock is ahead of this computer's."""
    evicts: str | None
    """The `maxmemory-policy`, if the server deletes keys when its memory is full."""
    persists: bool
    """Whether it writes its data to a disk."""


class Denied(NamedTuple):
    """A command that the server's user may not run, and the server's words."""

    command: str
    message: str


class Servers:
    """The servers of all shards."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def evicting_policies(self) -> set[str]:
        """The `maxmemory-policy` of each server that deletes keys when its memory is
        full. A server does not do so with the policy `noeviction`, or without a memory
        limit.

        Raises:
            PresenceUnavailable: a server did not answer, or denies the right to ask.
        """
        policies = set()
        for keys in self._keys:
            (text,) = self._backend.run(keys.shard, [("INFO", "memory")])
            policies.add(_evicting_policy(_fields(text)))
        return {policy for policy in policies if policy is not None}

    def info(self, shard: int = 0) -> ServerInfo:
        """Ask the server of a shard about itself.

        Raises:
            PresenceUnavailable: it did not answer, or denies the right to ask.
        """
        times = []
        for _ in range(PINGS):
            began = time.perf_counter()
            self._backend.run(shard, [("PING",)])
            times.append(time.perf_counter() - began)
        sent_at = time.time()
        ((seconds, microseconds),) = self._backend.run(shard, [("TIME",)])
        here = (sent_at + time.time()) / 2
        (text,) = self._backend.run(shard, [("INFO",)])
        fields = _fields(text)
        version = re.findall(r"\d+", fields.get("redis_version", ""))
        return ServerInfo(
            product="Valkey" if "valkey_version" in fields else "Redis",
            version=tuple(map(int, version)),
            latency=median(times) * 1000,
            clock_ahead=int(seconds) + int(microseconds) / 1e6 - here,
            evicts=_evicting_policy(fields),
            persists=_persists(fields),
        )

    def denied_commands(self) -> list[Denied]:
        """The commands of the presence state that the user in `REDIS_URL` may not run.
        Runs each of them on keys that nothing else uses.

        Raises:
            PresenceUnavailable: the server did not answer.
        """
        self._backend.run(0, [("PING",)])
        denied = []
        for command in _trials(self._keys[0]):
            try:
                self._backend.run(0, [command])
            except PresenceError as error:
                # Any other error reply comes after the check of the permission.
                if lacks_permission(error):
                    denied.append(Denied(_name(command), str(error)))
        return denied

    def answer(self, question: str) -> None:
        """Note that a worker has got the task with this question."""
        name = self._keys[0].answer(question)
        self._backend.run(0, [("SET", name, 1, "PX", ANSWER_TTL_MS)])

    def is_answered(self, question: str) -> bool:
        """Whether a worker has called `answer` with the same question."""
        (found,) = self._backend.run(0, [("EXISTS", self._keys[0].answer(question))])
        return bool(found)


def lacks_permission(error: PresenceError) -> bool:
    """Whether `error` says that the server's user may not run a command."""
    return bool(_DENIED.search(str(error)))


def _trials(keys: Keys) -> list[Command]:
    """Each command that the code or a script of ours sends, with keys of no use."""
    text, fields, members, ranks, stream = map(
        keys.trial, ("text", "fields", "members", "ranks", "stream")
    )
    return [
        ("SET", text, 1, "PX", 1000),
        ("GET", text),
        ("INCRBY", text, 1),
        ("EXISTS", text),
        ("TYPE", text),
        ("PEXPIRE", text, 1000),
        ("GETDEL", text),
        ("HSET", fields, "a", 1),
        ("HSETNX", fields, "a", 1),
        ("HGET", fields, "a"),
        ("HMGET", fields, "a"),
        ("HINCRBY", fields, "a", 1),
        ("HDEL", fields, "a"),
        ("SADD", members, "a"),
        ("SCARD", members),
        ("SISMEMBER", members, "a"),
        ("SMISMEMBER", members, "a"),
        ("SRANDMEMBER", members),
        ("SSCAN", members, 0),
        ("SREM", members, "a"),
        ("ZADD", ranks, 1, "a"),
        ("ZCARD", ranks),
        ("ZCOUNT", ranks, 0, 1),
        ("ZSCORE", ranks, "a"),
        ("ZRANGE", ranks, 0, 0),
        ("ZRANGEBYSCORE", ranks, 0, 1),
        ("ZREM", ranks, "a"),
        ("ZREMRANGEBYSCORE", ranks, 0, 1),
        ("XADD", stream, "1-1", "a", 1),
        ("XREAD", "STREAMS", stream, "0"),
        ("XRANGE", stream, "-", "+"),
        ("XLEN", stream),
        ("XTRIM", stream, "MAXLEN", 1),
        ("XINFO", "STREAM", stream),
        ("XDEL", stream, "1-1"),
        ("TIME",),
        ("SCRIPT", "LOAD", "return 1"),
        run_script("trial", [text]),
        ("DEL", text, fields, members, ranks, stream),
    ]


def _name(command: Command) -> str:
    words = 2 if command[0] in {"SCRIPT", "XINFO"} else 1
    return "|".join(str(word).lower() for word in command[:words])


def _fields(info: str) -> Mapping[str, str]:
    """The fields of a reply to INFO."""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", info, re.MULTILINE))


def _evicting_policy(fields: Mapping[str, str]) -> str | None:
    policy = fields.get("maxmemory_policy", NO_EVICTION)
    is_limited = fields.get("maxmemory", "0") != "0"
    return policy if is_limited and policy != NO_EVICTION else None


def _persists(fields: Mapping[str, str]) -> bool:
    """Whether the server has an append-only file, or has ever written a snapshot. The
    configuration says it exactly, but needs a permission that is dangerous."""
    has_snapshot = fields.get("rdb_last_bgsave_time_sec", "-1") != "-1"
    return fields.get("aof_enabled") == "1" or has_snapshot
