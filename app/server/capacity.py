"""How many sockets one web process takes. The settings and its file limit decide it.

Every socket is an open file. Health checks and REST must be answered even if all
WebSockets are taken, so some connections are reserved for HTTP.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from config import Settings

HTTP_CONNECTIONS = 1000
"""Connections that are reserved for HTTP, handshakes included."""
OTHER_FILES = 128
"""Open files that are not clients: Redis, the database, the log."""
LEAST = 8
"""Connections that a process takes even with a very low file limit."""
MAX_ON_MACOS = 10240
"""macOS refuses a higher file limit, even when it reports no limit."""
_HTTP_SHARE = 4
"""If the file limit is low, one in this many connections is for HTTP."""
_REFUSED_SHARE = 5
"""One in this many HTTP connections is for WebSockets that are being refused."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections one web process takes at a time."""

    sockets: int
    """The most WebSockets that are served."""
    http: int
    """Connections that are reserved for HTTP. HTTP may also use connections that no
    WebSocket uses."""

    @property
    def connections(self) -> int:
        """All connections."""
        return self.sockets + self.http

    @property
    def sockets_with_refused(self) -> int:
        """The most WebSockets that are served or being refused."""
        return self.sockets + self.http // _REFUSED_SHARE

    @classmethod
    def of(cls, settings: Settings, files: int | None = None) -> Capacity:
        """The capacity that `settings` ask for, or less if `files` is too low for it.
        The default of `files` is the process's own limit of open files."""
        wanted = settings.worker_connections
        if files is None:
            files = _limit()[0]
        if files >= needed_files(settings):
            return cls(wanted, HTTP_CONNECTIONS)
        free = max(LEAST, files - OTHER_FILES)
        http = min(HTTP_CONNECTIONS, free // _HTTP_SHARE)
        return cls(min(wanted, free - http), http)


def needed_files(settings: Settings) -> int:
    """The most files that a process with these `settings` opens."""
    return settings.worker_connections + HTTP_CONNECTIONS + OTHER_FILES


def raise_file_limit(settings: Settings) -> None:
    """Raise the file limit of this process to what `settings` need, or to what the
    system allows. Processes that it starts get the same limit."""
    soft, hard = _limit()
    wanted = min(hard, needed_files(settings))
    _, given = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (wanted, MAX_ON_MACOS):
        if soft < min(most, wanted):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, wanted), given))
                return


def file_limit_warning(settings: Settings) -> str | None:
    """A log line if the limit of open files is too low, or None."""
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
    """The soft and the hard limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = 2**31 - 1
    return (
        unlimited if soft == resource.RLIM_INFINITY else soft,
        unlimited if hard == resource.RLIM_INFINITY else hard,
    )
