"""The machine that is measured: its cores, who runs on which, and what is installed."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.dev.servers import valkey_binary
from config import PROJECT_ROOT

PACKAGES = (
    "celery",
    "flask",
    "flask-socketio",
    "simple-websocket",
    "gevent",
    "gunicorn",
    "picows",
    "python-socketio",
    "redis",
    "uvloop",
)

LOCK = PROJECT_ROOT / "bench" / "peers" / "package-lock.json"
"""What the peers on Node consist of; npm installs just that."""

Cores = set[int]


def cores_for_servers() -> Cores:
    """The first core that we may use; empty where a process cannot be pinned."""
    return set(_cores()[:1])


def cores_for_generator() -> Cores:
    """A core that the servers do not use; empty where there is no second one."""
    return set(_cores()[1:2])


def all_cores() -> list[int]:
    """All cores that we may use, for a command that is not measured as a server."""
    return list(_ALL_CORES)


def _cores() -> list[int]:
    # What may be used at the start; later this process has pinned itself.
    if not _ALL_CORES or len(_ALL_CORES) == 1:
        return []
    return _ALL_CORES


_ALL_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """What is started inside runs on `cores`, and so do its children."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def jemalloc() -> dict[str, str]:
    """The environment with which a Valkey has the allocator that it has where
    distributions build it; empty where this machine has none (Debian: libjemalloc2)."""
    name = find_library("jemalloc") if platform.system() == "Linux" else None
    return {"LD_PRELOAD": name} if name else {}


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe() -> dict[str, object]:
    """What a reader has to know to judge a figure."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        # Ends in -dirty where the files are not those of the commit.
        "commit": _output(
            *("git", "-C", str(PROJECT_ROOT), "describe"),
            *("--always", "--dirty", "--exclude=*"),
        ),
        "cpu": _cpu(),
        "cores": len(_ALL_CORES) or os.cpu_count(),
        "server cores": sorted(cores_for_servers()),
        "generator cores": sorted(cores_for_generator()),
        "memory GB": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        ),
        "system": f"{platform.system()} {platform.release()}",
        "load before": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            "valkey": _output(valkey_binary(), "--version"),
            "valkey's allocator": jemalloc().get("LD_PRELOAD", "its own"),
            "node": _output("node", "--version"),
            **{name: _version(name) for name in PACKAGES},
            **_locked(),
        },
    }


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - only asks what is installed
    except OSError:
        return "none"
    return done.stdout.strip()


def _locked() -> dict[str, str]:
    """The packages that the peers on Node ask for, and the versions they get."""
    packages = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    asked = packages[""]["dependencies"]
    return {
        f"npm {name}": packages[f"node_modules/{name}"]["version"] for name in asked
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
