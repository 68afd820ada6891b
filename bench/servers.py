"""Servers under test: real processes on a core of their own, ended by us.

A `Target` is one system that keeps presence: Greendot, or a peer. Each run starts it
anew, with a Valkey of its own, and stops all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from app.dev.servers import valkey_binary
from bench.graph import Graph
from bench.machine import cores_for_servers, jemalloc, pinned
from bench.measure import Sample, sample
from config import PROJECT_ROOT

SECRET = "the secret of the benchmarks, as long as any algorithm wants it"  # noqa: S105 - signs tokens for servers that live a minute
STOP_SECONDS = 15.0
SETTINGS = ("PRESENCE_", "CELERY_", "DATABASE_", "REDIS_", "GUNICORN_")
"""How variables begin that would change a server, or have it work for another one."""
MORE_SETTINGS = ("WEB_CONCURRENCY", "SECRET_KEY", "PORT")


class DidNotStart(Exception):
    """A server did not answer in time; the message ends with its log."""


class Target:
    """A running system. A context manager: its end stops all that it has started."""

    name = ""
    protocol = ""
    """How clients talk to it: a name in `bench.wire.PROTOCOLS`."""
    profile_seconds = 0
    """For how long to profile it (`bench.profiles`); 0: not at all."""
    hydrate_path = ""
    """Where REST gives the caller's status map."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="greendot-bench-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                print(self.log_tail(), file=sys.stderr)
        finally:  # it may be that nobody reads any more: `make bench | head`
            self.close()

    def start(self) -> None:
        """Start it, and return when it serves."""
        raise NotImplementedError

    def sample(self) -> Sample:
        """What all its processes have used, the Valkey included."""
        return sample({name: each.pid for name, each in self._processes.items()})

    def pids(self) -> dict[str, int]:
        """The first process of each part, for a profiler."""
        return {name: each.pid for name, each in self._processes.items()}

    def start_valkey(self) -> str:
        """Start a Valkey that keeps nothing on disk; its URL.

        The wheel's build has libc's allocator, whose free chunks lie all over the heap:
        with many users each allocation is one from cold memory. So it gets that of the
        builds that people have.
        """
        port = free_port()
        self.run(
            "valkey",
            [
                valkey_binary(),
                *("--port", str(port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            ],
            jemalloc(),
        )
        wait_until(lambda: _listens(port), "valkey", self.log_tail)
        return f"redis://127.0.0.1:{port}/0"

    def run(
        self,
        name: str,
        command: list[str],
        environ: Mapping[str, str],
        cwd: Path = PROJECT_ROOT,
    ) -> None:
        """Start a process on the servers' core, in a group of its own."""
        with (
            pinned(cores_for_servers()),
            (self.folder / f"{name}.log").open("ab") as log,
        ):
            self._processes[name] = subprocess.Popen(  # noqa: S603 - commands of ours
                command,
                cwd=cwd,
                env={**clean_environ(), "PYTHONUNBUFFERED": "1", **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def grace(self) -> float:
        """Seconds for which a closed connection still counts; 0: it does not."""
        return 0.0

    def wait_http(self, path: str) -> None:
        """Wait until a GET of `path` is answered with 200."""
        url = f"http://127.0.0.1:{self.port}{path}"
        wait_until(lambda: _answers(url), self.name, self.log_tail)

    def log_tail(self) -> str:
        """The last lines that each process has written."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        """Stop everything, the Valkey last."""
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def clean_environ() -> dict[str, str]:
    """The environment without settings that whoever runs this has exported."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(SETTINGS) and name not in MORE_SETTINGS
    }


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], bool], what: str, log: Callable[[], str], limit: float = 60
) -> None:
    """Poll `condition` until it holds, at most `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what} did not start within {limit:g} s\n{log()}"
            raise DidNotStart(message)
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - ours
            return bool(response.status == 200)  # noqa: PLR2004 - HTTP's OK
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
