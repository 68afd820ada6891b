"""Greendot as it is deployed: the lines of the Procfile, a Valkey and a database."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import redis
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from app.dev.processes import read_procfile
from bench.graph import user_id
from bench.machine import cores_for_generator, pinned
from bench.servers import SECRET, Target, clean_environ, free_port, wait_until
from config import PROJECT_ROOT, Settings
from models.events import CloseCode
from models.sql.db import make_engine, session_factory, table_of
from models.sql.friendship import Friendship, FriendshipStatus
from models.sql.user import User
from tasks.celery_app import QUEUE

SERVICE_KEY = "service key of the benchmarks, only for loopback"
MAX_SOCKETS = 16_000
"""Of one gateway: in a storm the new sockets come before the old ones are gone."""


class Greendot(Target):
    """One gateway, one Celery worker, beat and a Valkey, with the default settings but
    for room in the gateway, and for an end without delay.

    The database is SQLite, or what BENCH_DATABASE_URL names (empty, and for us alone).
    """

    name = "greendot"
    protocol = "greendot"
    hydrate_path = "/api/friends/online-status"
    workers = 1
    more_environ: Mapping[str, str] = {}

    @property
    def environ(self) -> dict[str, str]:
        """The settings of its processes."""
        return self._environ

    @property
    def grace(self) -> float:
        """Seconds for which a closed connection still counts."""
        return Settings.from_env(self._environ).disconnect_grace

    def start(self) -> None:
        """Start the Procfile's processes on a database that holds the graph."""
        url = os.environ.get("BENCH_DATABASE_URL")
        self.redis_url = self.start_valkey()
        self._database_url = url or f"sqlite:///{self.folder / 'bench.db'}"
        self._environ = {
            "DATABASE_URL": self._database_url,
            "REDIS_URL": self.redis_url,
            "PRESENCE_JWT_SECRET": SECRET,
            "PRESENCE_SERVICE_KEY": SERVICE_KEY,
            "PRESENCE_WORKER_CONNECTIONS": str(MAX_SOCKETS),
            "PRESENCE_DRAIN_WINDOW": "0",
            "PORT": str(self.port),
            # The Procfile listens to the world; a benchmark to this machine only.
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self.port}",
            **self.more_environ,
        }
        self._load()
        lines = read_procfile(PROJECT_ROOT / "Procfile")
        more = [f"worker {number}" for number in range(2, self.workers + 1)]
        for name in ("web", "worker", *more, "beat"):
            command = shlex.split(lines[name.partition(" ")[0]])
            command[0] = str(Path(sys.executable).parent / command[0])
            self.run(name, command, self._environ)
        self.wait_http("/readyz")
        client = redis.Redis.from_url(self._environ["REDIS_URL"])
        binding = f"_kombu.binding.{QUEUE}"
        wait_until(lambda: bool(client.exists(binding)), "the worker", self.log_tail)
        client.close()

    def _load(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=PROJECT_ROOT,
            env={**clean_environ(), **self._environ},
            check=True,
            capture_output=True,
        )
        engine = make_engine(self._database_url)
        users = [user_id(number) for number in range(self.graph.users)]
        pairs = [tuple(sorted(map(user_id, pair))) for pair in self.graph.pairs()]
        with session_factory(engine)() as session:
            for table in (table_of(Friendship), table_of(User)):
                session.execute(table.delete())
            session.execute(
                insert(table_of(User)),
                [{"id": user, "display_name": user} for user in users],
            )
            session.execute(
                insert(table_of(Friendship)),
                [
                    {"user_a": a, "user_b": b, "status": FriendshipStatus.ACCEPTED}
                    for a, b in pairs
                ],
            )
            session.commit()
        engine.dispose()


class GreendotWebhooks(Greendot):
    """The same with webhooks. Their receiver is the host's, so it has the core of the
    load generator, and is not measured."""

    name = "greendot-webhooks"

    def start(self) -> None:
        """Start the receiver, then the rest."""
        port = free_port()
        command = [sys.executable, "-m", "bench.webhook_receiver", str(port)]
        with pinned(cores_for_generator()):
            self._receiver = subprocess.Popen(command, cwd=PROJECT_ROOT)  # noqa: S603
        self.more_environ = {
            "PRESENCE_WEBHOOK_URLS": f"http://127.0.0.1:{port}/",
            "PRESENCE_WEBHOOK_SECRETS": f"whsec_{'A' * 32}",
            "PRESENCE_WEBHOOK_ALLOW_PRIVATE": "1",
        }
        super().start()

    def close(self) -> None:
        """Stop all, the receiver last."""
        super().close()
        self._receiver.kill()
        self._receiver.wait()


def closes_of(target: Target) -> str:
    """How many sockets a Greendot has closed against their will, by close code."""
    url = f"http://127.0.0.1:{target.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return ", ".join(
        f"{sample.labels['code']}: {sample.value:.0f}"
        for family in families
        for sample in family.samples
        if sample.name == "greendot_closes_total"
        and sample.value
        and sample.labels["code"].isdigit()
        and int(sample.labels["code"]) != CloseCode.NORMAL
    )
