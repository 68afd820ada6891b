"""The system under test: real processes, and a proxy on every line between them."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psycopg
import redis
from psycopg import sql
from sqlalchemy.engine import make_url

from models.presence import Keys
from tests.chaos.proxy import Proxy
from tests.databases import empty_postgresql
from tests.servers import RedisServer, any_server_command
from tests.system import Process, System
from tests.webhooks.receiver import SECRETS, Receiver

SWEEPS = Keys().sweeps
TTL = 6.0
GRACE = 1.0
SWEEP = 1.0
GATEWAY_TTL = 3.0
HEARTBEAT = 1.5
HOLD = 3.0
"""The default for this TTL. After an outage a gateway tries again within a second, and
its line to Redis may be slow. Its users must not be expired before."""
SETTINGS: dict[str, Any] = {
    "PRESENCE_ONLINE_TTL": str(TTL),
    "PRESENCE_HEARTBEAT_INTERVAL": str(HEARTBEAT),
    "PRESENCE_DISCONNECT_GRACE": str(GRACE),
    "PRESENCE_SWEEP_INTERVAL": str(SWEEP),
    "PRESENCE_GATEWAY_TTL": str(GATEWAY_TTL),
    "PRESENCE_DRAIN_WINDOW": "2",
    "PRESENCE_BREAKER_SHARE": "0.3",
    "PRESENCE_BREAKER_COUNT": "20",
    "PRESENCE_BREAKER_HOLD": str(HOLD),
}


class Valkey(RedisServer):
    """A Valkey that can be restarted from what it held some time ago."""

    def keep(self) -> None:
        """Keep what it holds now for a later restart."""
        with self.client() as client:
            client.save()
        shutil.copy(self._folder / "dump.rdb", self._folder / "kept.rdb")

    def client(self) -> redis.Redis:
        """A client that no fault of a line touches. The caller closes it."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=10)

    def flush(self) -> None:
        """Lose everything."""
        with self.client() as client:
            client.flushall()

    def kill_connections(self) -> None:
        """End every connection but that of the witness, who reads MONITOR."""
        with self.client() as client:
            for other in client.client_list():
                if other["cmd"] != "monitor":
                    client.client_kill_filter(_id=other["id"], skipme=True)

    def bound_memory(self, limit: int) -> None:
        """Take no more than `limit` bytes; 0: as many as there are."""
        with self.client() as client:
            client.config_set("maxmemory", limit)

    def follow(self, *, nobody: bool, serves: str = "yes") -> None:
        """Become the replica of a primary that is not there, or primary again.
        `serves`: whether a replica answers from what it has."""
        with self.client() as client:
            client.config_set("replica-serve-stale-data", serves)
            client.replicaof("no", "one") if nobody else client.replicaof(
                "127.0.0.1", 1
            )

    def take_rights(self) -> None:
        """All clients may do nothing but what ends that."""
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-@all", "+acl")

    def give_rights(self) -> None:
        """Inverse of `take_rights`."""
        # In RESP2 a new connection needs no HELLO, which may not be called now.
        with redis.Redis(port=self.port, socket_timeout=10, protocol=2) as client:
            client.execute_command("ACL", "SETUSER", "default", "+@all")

    def delete_keys(self, seed: int) -> None:
        """Delete one or two keys of the presence state."""
        chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
        keys = Keys()
        with self.client() as client:
            gateways = sorted(client.zrange(keys.gateways, 0, -1))
            users = sorted(client.smembers(keys.online_users))
            found = [
                keys.online_users,
                keys.deadlines,
                keys.transitions,
                keys.taken,
                keys.drainer,
                keys.gateways,
                keys.sweeps,
                *(keys.gateway_users(one) for one in gateways),
                *(keys.gateway_events(one) for one in gateways),
                *(keys.user_status(one) for one in users[:1]),
                *(keys.user_connections(one) for one in users[:1]),
            ]
            client.delete(*chance.sample(found, chance.randint(1, 2)))

    def last_sweep(self) -> float:
        """When a sweep last ran, in seconds since the epoch; 0 where none is known."""
        try:
            with self.client() as client:
                return int(client.hget(SWEEPS, "last") or 0) / 1000
        except redis.RedisError:
            return 0

    def restart(self, *, from_kept: bool) -> None:
        """Start it again after a kill: empty, or with what was kept."""
        dump = self._folder / "dump.rdb"
        dump.unlink(missing_ok=True)
        if from_kept:
            shutil.copy(self._folder / "kept.rdb", dump)
        self.start()


class Stage(System):
    """A Greendot of two gateways, two workers and beat, on PostgreSQL, with webhooks to
    `receiver`.

    `lines` are the proxies: `clients of web0`, `redis of web0`, `redis of workers`,
    `database`, and so on. Use it as an async context manager.
    """

    server: Valkey

    def __init__(self) -> None:
        super().__init__(webs=2, **SETTINGS)
        self._store = self.server = Valkey(any_server_command())
        self.lines: dict[str, Proxy] = {}
        self._stack = ExitStack()
        self.receiver = Receiver()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)
        for line in self.lines.values():
            await line.close()
        await asyncio.to_thread(self._stack.close)

    async def _start(self) -> None:
        self._stack.enter_context(self.receiver)
        self.environ |= {
            "PRESENCE_WEBHOOK_URLS": self.receiver.url,
            "PRESENCE_WEBHOOK_SECRETS": ",".join(SECRETS),
            "PRESENCE_WEBHOOK_ALLOW_PRIVATE": "1",
        }
        self._database = url = make_url(
            await asyncio.to_thread(self._stack.enter_context, empty_postgresql())
        )
        upstreams: dict[str, int | str] = {
            "database": str(Path(str(url.query["host"])) / ".s.PGSQL.5432"),
            "redis of workers": self.server.port,
        }
        for number, port in enumerate(self.web_ports):
            upstreams[f"redis of web{number}"] = self.server.port
            upstreams[f"clients of web{number}"] = port
        for name, upstream in upstreams.items():
            self.lines[name] = Proxy(upstream)
            await self.lines[name].start()
        through = url.set(host="127.0.0.1", port=self.lines["database"].port, query={})
        self.environ["DATABASE_URL"] = through.render_as_string(hide_password=False)
        await asyncio.to_thread(self.start)

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        super().start()
        self.start_process("worker1")

    def start_process(
        self, name: str, *, files: tuple[int, int] | None = None, **environ: str
    ) -> Process:
        """Start one line of the Procfile, with Redis behind a proxy."""
        name = "worker0" if name == "worker" else name
        line = self.lines[f"redis of {name if name.startswith('web') else 'workers'}"]
        url = f"redis://127.0.0.1:{line.port}/0"
        return super().start_process(name, files=files, REDIS_URL=url, **environ)

    def make_read_only(self, *, on: bool) -> None:
        """The database accepts no writes on new connections, or accepts them again.
        The connections that are there stay as they are."""
        name = sql.Identifier(str(self._database.database))
        statement = sql.SQL(
            "ALTER DATABASE {} SET default_transaction_read_only = {}"
        ).format(name, sql.Literal("on" if on else "off"))
        # Over its socket, which no fault of a line touches, and to a database of its
        # own, since this one may be read-only.
        url = self._database.set(drivername="postgresql", database="postgres")
        with psycopg.connect(
            url.render_as_string(hide_password=False), autocommit=True
        ) as connection:
            connection.execute(statement)

    def forget(self) -> None:
        """Remove the logs."""
        shutil.rmtree(self.folder, ignore_errors=True)
