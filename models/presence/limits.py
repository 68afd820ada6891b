"""Limits of calls: how many of one kind a user or an address may make.

The counts are in Redis, so a limit holds for all gateways together.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend
from models.presence.redis.commands import run_script


class Limits:
    """The calls that count. Methods raise `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def count(self, kind: str, caller: str, most: int, window_ms: int) -> int:
        """Count one call of this `kind` by `caller`. At most `most` calls are allowed
        in `window_ms`. Returns 0 if this one is allowed, else in how many ms a call is
        allowed. What is counted expires after the window."""
        shard = shard_number(caller, len(self._keys))
        key = self._keys[shard].limit(f"{kind}:{caller}")
        command = run_script("limit", [key], [most, window_ms])
        (wait,) = self._backend.run(shard, [command])
        return int(wait)
