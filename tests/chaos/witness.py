"""Sees every transition at the moment it is made, whatever becomes of it afterwards: it
reads Valkey's MONITOR, on a connection that no fault of a line touches."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

from models.events import Status, Transition

LONGEST_LINE = 16 * 1024 * 1024
_FIELD = re.compile(rb'"(user_id|status|timestamp)" "([^"]*)"')


class Witness:
    """The transitions of a run, in the order in which they were made."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.transitions: list[Transition] = []
        self._newest: dict[str, Transition] = {}
        self._known: set[tuple[str, int]] = set()

    async def run(self) -> None:
        """Watch until cancelled. Connect again after each restart of the server."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._watch()
            await asyncio.sleep(0.02)

    def newest(self, user_id: str) -> Transition | None:
        """The last transition of that user."""
        return self._newest.get(user_id)

    def learn(self, transition: Transition) -> None:
        """Somebody was told of it; the witness may have been away when it was made."""
        key = (transition.user_id, transition.timestamp)
        if key in self._known:
            return
        self._known.add(key)
        self.transitions.append(transition)
        known = self._newest.get(transition.user_id)
        if known is None or transition.timestamp > known.timestamp:
            self._newest[transition.user_id] = transition

    async def _watch(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=LONGEST_LINE
        )
        try:
            writer.write(b"MONITOR\r\n")
            while line := await reader.readline():
                if b'"XADD" "presence:transitions"' in line:
                    self._take(line)
        finally:
            writer.transport.abort()

    def _take(self, line: bytes) -> None:
        fields = {name.decode(): value.decode() for name, value in _FIELD.findall(line)}
        status: Status = "online" if fields["status"] == "online" else "offline"
        self.learn(Transition(fields["user_id"], status, int(fields["timestamp"])))


def now_ms() -> int:
    """Now as Valkey counts it: it runs on this machine."""
    return time.time_ns() // 1_000_000
