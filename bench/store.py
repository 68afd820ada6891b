"""The scenario `store`: the Lua scripts alone, with a million users online.

Two threads call the methods that gateways and workers call, so that the server is busy
while one of them prepares its next call. A core that waits between two calls does them
from a cold cache, and takes a tenth longer. A rate "per core" is users by CPU second of
the Valkey. The longest script is what the server's own figures say. The longest wait is
that of a client that asks for PONG all the while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import redis

from bench.graph import Graph, user_id
from bench.machine import cores_for_generator, pinned
from bench.measure import percentile
from bench.pinger import Pinger
from bench.report import Column, Row
from bench.scenarios import Scale
from bench.servers import SECRET, Target
from config import Settings
from models.batches import batches
from models.presence import Keys, Presence
from models.presence.batches import CONNECT_BATCH, SCRIPT_BATCH
from models.presence.store import ClosedConnection, LiveConnection
from tasks.expiry import sweep

T = TypeVar("T")

CALLERS = 2
GATEWAY = "web.1.27:5f3a9c1e"
TTL = 3600
"""So long that nobody expires while we measure; the scripts do the same work."""
FEW_USERS = 1_000
LOOKUP = 1_000
"""Users whom a fan-out of a full batch asks for, or more."""
REPEATS = 50

STORE = (
    Column("case", "case"),
    Column("users", "users"),
    Column("per_core_s", "per core and s", "more", 0),
    Column("per_s", "per s", "more", 0),
    Column("seconds", "seconds", "less", 4),
    Column("script_ms", "longest script ms", "less", 2),
    Column("ping_ms", "longest wait ms", "less", 2),
    Column("bytes", "bytes per user", "less", 0),
)


class _Valkey(Target):
    name = "valkey"

    def start(self) -> None:
        self.url = self.start_valkey()


class _Bench:
    """The store under test, and the measuring of its phases."""

    def __init__(self, target: _Valkey, pinger: Pinger) -> None:
        self._target = target
        self._pinger = pinger
        self.settings = Settings.from_env(
            {
                "REDIS_URL": target.url,
                "PRESENCE_JWT_SECRET": SECRET,
                "PRESENCE_ONLINE_TTL": str(TTL),
                "PRESENCE_GATEWAY_TTL": str(TTL),
                # Nobody swept before: the first sweep would hold, and do nothing.
                "PRESENCE_BREAKER_HOLD": "0",
            }
        )
        self._callers = [Presence.open(self.settings) for _ in range(CALLERS)]
        self.shard = self._callers[0].shards[0]
        self.client = redis.Redis.from_url(target.url)
        # Not its slow log: freeing thousands of entries held up the next script.
        self.client.config_set("slowlog-log-slower-than", -1)
        self.client.config_set("latency-tracking-info-percentiles", "100")

    def phase(self, case: str, users: int, work: Callable[[], object]) -> Row:
        """Do `work`, which is about `users` users, and tell what it took."""
        self.client.config_resetstat()
        self._pinger.longest_ms()
        before, start = self._target.sample(), time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        cpu = self._target.sample().cpu - before.cpu
        ping_ms = self._pinger.longest_ms()
        longest = self.client.info("latencystats")
        scripts = longest.get("latency_percentiles_usec_evalsha", {"p100": 0.0})
        return {
            "case": case,
            "users": users,
            "seconds": seconds,
            "per_s": users / seconds if users else None,
            "per_core_s": users / cpu if users and cpu else None,
            "script_ms": scripts["p100"] / 1000,
            "ping_ms": ping_ms,
        }

    def share(
        self, items: Sequence[T], size: int, call: Callable[[Presence, list[T]], object]
    ) -> None:
        """`call` with all `items`, up to `size` at a time, by all callers at once."""
        todo = list(batches(items, size))

        def do(caller: int) -> None:
            for batch in todo[caller::CALLERS]:
                call(self._callers[caller], batch)

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(do, range(CALLERS)))

    def used_memory(self) -> int:
        """Bytes, once the outbox is as empty as a worker leaves it."""
        self.client.unlink(Keys().transitions)
        time.sleep(1)
        return int(self.client.info("memory")["used_memory"])


def store(scale: Scale) -> Iterator[Row]:
    """All phases, one after the other, on the same data."""
    with (
        pinned(cores_for_generator()),
        _Valkey(Graph.ring(3, 2)) as target,
        Pinger(target.url) as pinger,
    ):
        bench = _Bench(target, pinger)
        empty = bench.used_memory()
        few = _signs(0, FEW_USERS)
        bench.shard.gateways.heartbeat(GATEWAY)
        bench.shard.store.connect(GATEWAY, few)
        yield _quiet_sweep(bench, f"sweep, none due of {FEW_USERS:,}")

        many = _signs(FEW_USERS, scale.stored_users)
        yield bench.phase("come online", len(many), lambda: _connect(bench, many))
        used = bench.used_memory() - empty
        yield {
            "case": "memory",
            "users": scale.stored_users,
            "bytes": used / scale.stored_users,
        }
        yield bench.phase("heartbeats", len(many), lambda: _heartbeats(bench, many))
        yield bench.phase(
            "lookups: which gateway has the user",
            len(many),
            lambda: _look_up(bench, many),
        )
        for due in scale.due:
            if not due:
                yield _quiet_sweep(bench, f"sweep, none due of {scale.stored_users:,}")
                continue
            _make_due(bench, scale.stored_users, due)
            yield bench.phase(
                f"sweep, {due:,} due",
                due,
                partial(_sweep, bench, due),
            )
            bench.used_memory()
        some = many[: max(scale.due)]
        yield bench.phase("releases", len(some), lambda: _release(bench, some))
        users = [sign.user_id for sign in some]
        yield bench.phase("expiries", len(users), lambda: _expire(bench, users))


def _signs(first: int, end: int) -> list[LiveConnection]:
    return [
        LiveConnection(user_id(number), f"{GATEWAY}:{number}")
        for number in range(first, end)
    ]


def _connect(bench: _Bench, signs: list[LiveConnection]) -> None:
    bench.share(
        signs,
        CONNECT_BATCH,
        lambda presence, batch: presence.shards[0].store.connect(GATEWAY, batch),
    )


def _heartbeats(bench: _Bench, signs: list[LiveConnection]) -> None:
    bench.share(
        signs,
        SCRIPT_BATCH,
        lambda presence, batch: presence.shards[0].gateways.heartbeat(GATEWAY, batch),
    )


def _look_up(bench: _Bench, signs: list[LiveConnection]) -> None:
    def look_up(presence: Presence, batch: list[LiveConnection]) -> None:
        held = presence.gateway_streams.holders(sign.user_id for sign in batch)
        if len(held[GATEWAY]) != len(batch):
            message = f"{len(held[GATEWAY]):,} of {len(batch):,} were found"
            raise ValueError(message)

    bench.share(signs, LOOKUP, look_up)


def _release(bench: _Bench, signs: list[LiveConnection]) -> None:
    departures = [
        ClosedConnection(sign.user_id, sign.connection_id, 0) for sign in signs
    ]
    bench.share(
        departures,
        SCRIPT_BATCH,
        lambda presence, batch: presence.shards[0].store.release(GATEWAY, batch),
    )


def _expire(bench: _Bench, users: list[str]) -> None:
    bench.share(
        users,
        SCRIPT_BATCH,
        lambda presence, batch: presence.shards[0].store.expire(batch),
    )


def _sweep(bench: _Bench, due: int) -> None:
    online = bench.client.scard(Keys().online_users)
    sweep(bench.shard, bench.settings)
    expired = online - bench.client.scard(Keys().online_users)
    if expired != due:
        message = f"the sweep expired {expired:,} of {due:,}"
        raise ValueError(message)


def _make_due(bench: _Bench, first: int, count: int) -> None:
    """More users come online, who were last heard of a whole TTL ago."""
    age = TTL * 1000 - 1
    bench.shard.store.connect(
        GATEWAY,
        [
            LiveConnection(sign.user_id, sign.connection_id, age)
            for sign in _signs(first, first + count)
        ],
    )
    bench.used_memory()


def _quiet_sweep(bench: _Bench, case: str) -> Row:
    times = []

    def work() -> None:
        for _ in range(REPEATS):
            start = time.perf_counter()
            sweep(bench.shard, bench.settings)
            times.append(time.perf_counter() - start)

    row = dict(bench.phase(case, 0, work))
    row["seconds"] = percentile(sorted(times), 50)
    return row
