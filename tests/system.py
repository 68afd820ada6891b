"""The whole of Greendot as real processes, for end-to-end tests: a Valkey, a database,
two gateways, a Celery worker and beat, run by the lines of the Procfile."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import jwt
import redis
from sqlalchemy.engine import make_url

from app.dev.processes import read_procfile
from config import PROJECT_ROOT
from tests.rest_document import RestDocument
from tests.servers import RedisServer, any_server_command, free_port

JWT_SECRET = "a secret of the tests, long enough for any algorithm that signs tokens"
SERVICE_KEY = "service-key-of-the-tests-with-enough-characters"
QUICK = {
    "PRESENCE_ONLINE_TTL": "6",
    "PRESENCE_HEARTBEAT_INTERVAL": "2",
    "PRESENCE_DISCONNECT_GRACE": "0.5",
    "PRESENCE_SWEEP_INTERVAL": "1",
    "PRESENCE_GATEWAY_TTL": "3",
    "PRESENCE_DRAIN_WINDOW": "1",
}
"""Seconds that are short, so that tests need not wait, but not for a noisy machine."""
_MIGRATED: list[bytes] = []
"""A SQLite file with all tables and no rows, once there is one."""


class Process:
    """One line of the Procfile, running in a process group of its own."""

    def __init__(
        self,
        name: str,
        environ: dict[str, str],
        log: Path,
        files: tuple[int, int] | None = None,
        code: Path = PROJECT_ROOT,
    ) -> None:
        """`files`: the soft and the hard limit of its open files. `code`: the folder of
        the release that it runs."""
        command = shlex.split(read_procfile(code / "Procfile")[name])
        self.name = name
        self.log = log
        self._was_asked_to_stop = False
        # The virtual environment of the tests, whatever PATH says.
        command[0] = str(Path(sys.executable).parent / command[0])
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                cwd=code,
                env=environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=files  # noqa: PLW1509 - one call of the system
                and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files)),
            )

    @property
    def pid(self) -> int:
        """The process that was started, which leads its group."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and all its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it and its children as a crash does."""
        self.signal_group(signal.SIGKILL)
        self._popen.wait()

    def ask_to_stop(self) -> None:
        """Tell it to stop, without waiting. A second call sends nothing: SIGTERM would
        kill a Python that is about to exit."""
        if self._popen.poll() is None and not self._was_asked_to_stop:
            self._was_asked_to_stop = True
            self.signal_group(signal.SIGCONT)
            self._popen.send_signal(signal.SIGTERM)

    def stop(self, patience: float = 40) -> int:
        """Stop it as a platform does, and give its exit code."""
        self.ask_to_stop()
        try:
            return self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Store(Protocol):
    """Where the presence state lies, if that is not one server, and Celery's broker."""

    broker: RedisServer

    @property
    def url(self) -> str:
        """What `REDIS_URL` takes."""

    @property
    def broker_url(self) -> str:
        """What `CELERY_BROKER_URL` takes."""

    def start(self) -> None:
        """Start all of it, the broker too."""

    def close(self) -> None:
        """End all of it."""


class System:
    """A running Greendot. `web_ports[n]` is where gateway n listens."""

    def __init__(
        self,
        *,
        webs: int = 2,
        database_url: str | None = None,
        store: Store | None = None,
        files: tuple[int, int] | None = None,
        **environ: str,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="greendot-system-"))
        self.server = store.broker if store else RedisServer(any_server_command())
        self._store = store or self.server
        self._files = files
        self.web_ports = [free_port() for _ in range(webs)]
        self.environ = {
            **os.environ,
            **QUICK,
            "DATABASE_URL": database_url or f"sqlite:///{self.folder / 'test.db'}",
            "REDIS_URL": self._store.url,
            "CELERY_BROKER_URL": store.broker_url if store else "",
            "PRESENCE_JWT_SECRET": JWT_SECRET,
            "PRESENCE_SERVICE_KEY": SERVICE_KEY,
            "PYTHONUNBUFFERED": "1",
            **environ,
        }
        self.processes: dict[str, Process] = {}
        self.code = PROJECT_ROOT
        """The release that processes run which are started from now on."""
        self._rest: RestDocument | None = None

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        self._store.start()
        self.redis = redis.Redis(port=self.server.port, decode_responses=True)
        self._make_tables()
        for number in range(len(self.web_ports)):
            self.start_web(number)
        self.start_process("worker")
        self.start_process("beat")
        for number in range(len(self.web_ports)):
            self.wait_ready(number)
        wait_until(lambda: self.redis.scard("_kombu.binding.greendot") > 0, 60)
        self._rest = RestDocument(self.request("GET", "/openapi.json")[1])

    def _make_tables(self) -> None:
        """Migrate the database. Every SQLite file begins as a copy of the first one."""
        url = make_url(self.environ["DATABASE_URL"])
        file = Path(url.database or "") if url.drivername == "sqlite" else None
        if file and not file.exists() and _MIGRATED:
            file.write_bytes(_MIGRATED[0])
            return
        is_new = file is not None and not file.exists()
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=PROJECT_ROOT,
            env=self.environ,
            check=True,
            capture_output=True,
        )
        if file and is_new:
            _MIGRATED.append(file.read_bytes())

    def start_web(
        self, number: int, files: tuple[int, int] | None = None, **environ: str
    ) -> Process:
        """Start gateway `number` on its port."""
        port = str(self.web_ports[number])
        # Only this computer may reach it: some of the tests have the demo page.
        given = self.environ.get("GUNICORN_CMD_ARGS", "")
        bind = f"--bind=127.0.0.1:{port} {given}"
        environ = {"PORT": port, "GUNICORN_CMD_ARGS": bind, **environ}
        files = files or self._files
        return self.start_process(f"web{number}", files=files, **environ)

    @contextlib.contextmanager
    def another_web(
        self, files: tuple[int, int] | None = None, **environ: str
    ) -> Iterator[int]:
        """One more gateway, with settings of its own, and its number. A test may do to
        it what it likes: the others are left alone."""
        number = len(self.web_ports)
        self.web_ports.append(free_port())
        self.start_web(number, files, **environ)
        try:
            self.wait_ready(number)
            yield number
        finally:
            gateway = self.processes.pop(f"web{number}")
            try:
                gateway.stop()
            finally:
                gateway.kill()
                self.web_ports.pop()

    def start_process(
        self, name: str, *, files: tuple[int, int] | None = None, **environ: str
    ) -> Process:
        """Start one line of the Procfile; `web0` and `web1` are both `web`."""
        line = "web" if name.startswith("web") else name.rstrip("0123456789")
        process = Process(
            line,
            {**self.environ, **environ},
            self.folder / f"{name}.log",
            files,
            self.code,
        )
        self.processes[name] = process
        return process

    def wait_ready(self, number: int = 0) -> None:
        """Wait until gateway `number` says that it is ready."""
        process = self.processes[f"web{number}"]

        def is_ready() -> bool:
            assert process.is_running, f"{process.name} has ended"
            return self.request("GET", "/readyz", web=number)[0] == 200

        wait_until(is_ready, 60)

    def close(self) -> None:
        """Stop everything; what does not stop is killed."""
        try:
            for process in self.processes.values():
                process.ask_to_stop()
            for process in self.processes.values():
                process.stop()
        finally:
            for process in self.processes.values():
                process.kill()
            self._store.close()

    def logs(self) -> str:
        """What all processes have written, for a failed test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}"
            for path in sorted(self.folder.glob("*.log"))
        )

    # As a host application and as its users

    def url(self, web: int = 0) -> str:
        """Where gateway `web` answers HTTP."""
        return f"http://127.0.0.1:{self.web_ports[web]}"

    def token(self, user_id: str, lifetime: float = 3600) -> str:
        """A token as the host application issues it."""
        claims = {"sub": user_id, "exp": time.time() + lifetime}
        return jwt.encode(claims, JWT_SECRET, algorithm="HS256")

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        web: int = 0,
        timeout: float = 10,
    ) -> tuple[int, Any]:
        """One HTTP call: the status and the JSON of the answer. `timeout`: seconds. The
        answer must be one that the OpenAPI document describes."""
        request = urllib.request.Request(  # noqa: S310 - our own URL
            self.url(web) + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
                status, answered, text = response.status, response, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, answered, text = error.code, error, error.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, None
        if self._rest is not None and self.code == PROJECT_ROOT:
            self._rest.check(method, path, status, dict(answered.headers), text)
        return status, json.loads(text) if text else None

    def metrics(self, web: int = 0) -> str:
        """What /metrics of that web server says."""
        url = self.url(web) + "/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            text: str = response.read().decode()
            return text

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """A call of the host application that has to succeed."""
        path = f"/api/admin{path}"
        status, answer = self.request(method, path, body, token=SERVICE_KEY, timeout=60)
        assert 200 <= status < 300, (status, answer)
        return answer

    def befriend(self, one: str, *others: str) -> None:
        """Make `one` a friend of all `others`; creates who is not known."""
        users = [{"id": user_id, "display_name": user_id} for user_id in (one, *others)]
        pairs = [[one, other] for other in others]
        self.admin("POST", "/bulk", {"users": users, "friendships": pairs})

    def is_online(self, user_id: str) -> bool:
        """What Redis says."""
        return bool(self.redis.sismember("online_users", user_id))


@contextlib.contextmanager
def started(system: System) -> Iterator[System]:
    """`system`, running. Where it does not come up, what it has written says why."""
    try:
        try:
            system.start()
        except BaseException:
            sys.stderr.write(system.logs())
            raise
        yield system
    finally:
        system.close()


def wait_until(condition: Any, patience: float = 10, every: float = 0.02) -> None:
    """Poll `condition` until it holds.

    Raises:
        AssertionError: it does not within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            message = f"did not become true within {patience} s"
            raise AssertionError(message)
        time.sleep(every)
