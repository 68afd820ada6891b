"""Real servers for tests: a Valkey or Redis of their own, ended by themselves."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from app.dev.servers import LocalError, valkey_binary
from tests.needs import missing

_PORTS = range(10_000, 32_768)
"""Below the ports that the kernel gives to a process that connects or binds to port 0
(from 32768 on Linux, 49152 on macOS). One of those could be taken in the seconds until
a server that is being started binds it."""


def free_port() -> int:
    """A loopback port that is free now, and that nobody gets by chance."""
    while True:
        # Not of `random`, which Hypothesis seeds: two files of tests run side by side.
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def server_command(kind: str) -> str | None:
    """The binary of `kind`, "valkey" or "redis"; None where there is none."""
    if kind == "redis":
        return shutil.which("redis-server")
    try:
        return valkey_binary()
    except LocalError:
        return None


def any_server_command() -> str:
    """The binary of Valkey, or of Redis where that is not there."""
    binary = server_command("valkey") or server_command("redis")
    assert binary is not None, "no Valkey and no Redis to test with"
    return binary


class RedisServer:
    """One Valkey or Redis server process with a folder and a port of its own.

    Keeps its port and folder over `kill` and `start`, as a restarted server does.
    `options` are more of its arguments; with `--sentinel` it is a sentinel.
    """

    def __init__(self, binary: str, *options: str) -> None:
        self._binary = binary
        self._options = options
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
            *("--dir", str(self._folder)),
        ]
        if "--sentinel" in self._options:
            config = self._folder / "sentinel.conf"  # it keeps its state there
            config.touch()
            arguments.insert(0, str(config))
        else:
            arguments += ["--save", "", "--appendonly", "no"]
        log = (self._folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._binary, *arguments, *self._options], stdout=log, stderr=log
            )
        client = self.client()
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

    def option(self, name: str) -> str:
        """The value of one of its `options`."""
        return self._options[self._options.index(name) + 1]

    def client(self) -> redis.Redis:
        """A client that answers with text."""
        return redis.Redis(port=self.port, decode_responses=True, retry=None)  # type: ignore[arg-type]  # None is allowed

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


class KeptRedis:
    """A Redis that keeps its data over a restart: a `store` for `System`."""

    def __init__(self) -> None:
        options = ("--appendonly", "yes", "--appendfsync", "always")
        self.broker = RedisServer(any_server_command(), *options)
        self.url = self.broker_url = self.broker.url
        self.start, self.close = self.broker.start, self.broker.close


@contextlib.contextmanager
def running_server(kind: str) -> Iterator[RedisServer]:
    """A server of `kind`, "valkey" or "redis", that runs meanwhile. Skips the test
    where there is none."""
    binary = server_command(kind)
    if binary is None:
        missing(f"{kind}-server", "REDIS")
    with contextlib.closing(RedisServer(binary)) as server:
        server.start()
        yield server
