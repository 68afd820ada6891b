"""How many sockets one web process holds, by the settings and by its limit of files.

Every socket is an open file. Health checks and REST must be answered however many
WebSockets are open, so there is room beside them that no WebSocket ever takes.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from config import Settings

HTTP_CONNECTIONS = 1000
"""Room for connections that are no WebSockets (yet)."""
OTHER_FILES = 128
"""Open files that are no clients: Redis, the database, the log."""
LEAST = 8
MOST_ON_MACOS = 10240
"""It refuses more, even where it says that there is no limit."""
_HTTP_SHARE = 4
"""Where files are few, one in four is for HTTP."""
_REFUSED_SHARE = 5
"""One in five of the places for HTTP is for WebSockets that are being refused."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one web process holds at a time."""

    sockets: int
    """WebSockets that are served."""
    http: int
    """Other connections, at least: what WebSockets leave free is theirs, too."""

    @property
    def connections(self) -> int:
        """All of them."""
        return self.sockets + self.http

    @property
    def sockets_with_refused(self) -> int:
        """WebSockets that are served, and those that are being closed."""
        return self.sockets + self.http // _REFUSED_SHARE

    @classmethod
    def of(cls, settings: Settings, files: int | None = None) -> Capacity:
        """What `settings` ask for, or less where `files`, the process's own limit of
        open files, is too low for that."""
        wanted = settings.worker_connections
        if files is None:
            files = _limit()[0]
        if files >= needed_files(settings):
            return cls(wanted, HTTP_CONNECTIONS)
        free = max(LEAST, files - OTHER_FILES)
        http = min(HTTP_CONNECTIONS, free // _HTTP_SHARE)
        return cls(min(wanted, free - http), http)


def needed_files(settings: Settings) -> int:
    """Open files that a process with these `settings` may come to."""
    return settings.worker_connections + HTTP_CONNECTIONS + OTHER_FILES


def raise_file_limit(settings: Settings) -> None:
    """Let this process, and those that it starts, open as many files as `settings`
    need, or as many as the system allows."""
    soft, hard = _limit()
    wanted = min(hard, needed_files(settings))
    _, given = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (wanted, MOST_ON_MACOS):
        if soft < min(most, wanted):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, wanted), given))
                return


def file_limit_warning(settings: Settings) -> str | None:
    """One line for the log where the limit of open files is too low."""
    files, capacity = _limit()[0], Capacity.of(settings)
    if files >= needed_files(settings):
        return None
    return (
        f"PRESENCE_WORKER_CONNECTIONS={settings.worker_connections} needs "
        f"{needed_files(settings)} open files, and the limit is {files}: each process "
        f"takes at most {capacity.sockets} WebSockets. Raise the hard limit (ulimit "
        f"-Hn, LimitNOFILE)"
    )


def _limit() -> tuple[int, int]:
    """The soft limit of open files, and the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = 2**31 - 1
    return (
        unlimited if soft == resource.RLIM_INFINITY else soft,
        unlimited if hard == resource.RLIM_INFINITY else hard,
    )
