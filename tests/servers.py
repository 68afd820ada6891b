"""Real servers for tests: a Valkey or Redis of their own, ended by themselves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from app.local_valkey import LocalError, valkey_binary


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_command(kind: str) -> str | None:
    """The binary of `kind`, "valkey" or "redis"; None where there is none."""
    if kind == "redis":
        return shutil.which("redis-server")
    try:
        return valkey_binary()
    except LocalError:
        return None


class RedisServer:
    """One Valkey or Redis server process with a folder and a port of its own.

    Keeps its port over `kill` and `start`, as a restarted server does.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._folder = Path(tempfile.mkdtemp(prefix="greendot-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        arguments = [
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
        ]
        log = (self._folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._binary, *arguments], stdout=log, stderr=log
            )
        client = redis.Redis(port=self.port)
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.02)
            else:
                break
        client.close()

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP makes it stand still."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove what it wrote."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def is_required(name: str) -> bool:
    """Whether a missing helper fails the tests instead of skipping them (in CI)."""
    return os.environ.get(f"GREENDOT_REQUIRE_{name}") == "1"
