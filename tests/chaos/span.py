"""The life of one socket as its client sees it, and the map that it was told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from models.events import Status, Transition


@dataclass
class Span:
    """The life of one socket, and what it was told. `*_at` are seconds since the epoch
    of this machine, which is also Valkey's."""

    user_id: str
    device: str
    web: int
    connection_id: str = ""
    opened_at: float | None = None
    snapshot_at: float | None = None
    """When the newest snapshot came."""
    answered_at: float = 0.0
    """The server's time of its newest answer to a heartbeat: it had the socket then."""
    ended_at: float | None = None
    how: str = ""
    statuses: dict[str, tuple[Status, int]] = field(default_factory=dict)
    live: dict[str, tuple[Status, int]] = field(default_factory=dict)
    """What events of this socket said."""
    seen: set[tuple[str, int]] = field(default_factory=set)

    @property
    def gateway(self) -> str:
        """The gateway process that holds it."""
        return self.connection_id.rpartition(":")[0]

    def end(self, how: str) -> None:
        """It has ended for this user, whatever the server thinks."""
        if self.ended_at is None:
            self.ended_at = time.time()
            self.how = how

    def take_snapshot(self, statuses: dict[str, Any]) -> None:
        """Replace the map, but for what a newer event of this socket said."""
        self.snapshot_at = time.time()
        self.statuses = {
            user_id: (entry["status"], entry["timestamp"])
            for user_id, entry in statuses.items()
        }
        for user_id in self.statuses.keys() & self.live.keys():
            self._put(user_id, self.live[user_id])

    def take_change(self, change: Transition) -> bool:
        """Take an event. False: this socket has had it already."""
        status = (change.status, change.timestamp)
        known = self.live.get(change.user_id)
        if known is None or known[1] < change.timestamp:
            self.live[change.user_id] = status
        self._put(change.user_id, status)
        key = (change.user_id, change.timestamp)
        is_new = key not in self.seen
        self.seen.add(key)
        return is_new

    def _put(self, user_id: str, status: tuple[Status, int]) -> None:
        known = self.statuses.get(user_id)
        if known is None or known[1] < status[1]:
            self.statuses[user_id] = status
