"""Settings of each gateway in Redis, so that `flask doctor` can compare them with its
own.

Each gateway writes those settings that are no secret and that all gateways must have in
common. They expire by themselves. Nothing else depends on them.

No secret is here, and no hash of one. Anybody who reads Redis could try weak secrets
against a hash for as long as they like. `app.doctor.same_secrets` compares secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from config import Settings
from models.presence.keys import Keys, shard_number
from models.presence.redis.backend import Backend
from models.presence.redis.commands import Command

PUBLISH_EVERY = 20.0
"""Seconds between two writes of a gateway."""
EXPIRE_MS = 60_000
"""The settings of a gateway expire this many milliseconds after its last write."""
PUBLISHED = (
    *("trusted_proxies", "admin_proxies", "allowed_origins"),
    *("jwt_audience", "jwt_issuer", "allow_invisible"),
    *("heartbeat_interval", "online_ttl", "disconnect_grace", "gateway_ttl"),
)
"""Fields of `Settings`. The variable of each is its name in capitals, after
PRESENCE_."""


def published(settings: Settings) -> dict[str, str]:
    """What a gateway with `settings` publishes: the value of each variable, as text."""
    return {
        f"PRESENCE_{name.upper()}": _text(getattr(settings, name)) for name in PUBLISHED
    }


class GatewaySettings:
    """The settings of all gateways, each in the shard of the gateway's own id. Methods
    raise `PresenceUnavailable` like the store's."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys

    def publish(self, gateway_id: str, values: Mapping[str, str]) -> None:
        """Write the settings of a gateway."""
        keys = self._keys_of(gateway_id)
        name = keys.gateway_settings(gateway_id)
        command = ("SET", name, json.dumps(values), "PX", EXPIRE_MS)
        self._backend.run(keys.shard, [command])

    def read(self, gateway_ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of these gateways. Gateways that publish none are left out: they
        are gone, or have an older version."""
        asked: dict[int, list[str]] = {}
        for gateway_id in gateway_ids:
            asked.setdefault(self._keys_of(gateway_id).shard, []).append(gateway_id)
        if not asked:
            return {}
        commands: dict[int, list[Command]] = {
            shard: [("GET", self._keys[shard].gateway_settings(one)) for one in ids]
            for shard, ids in asked.items()
        }
        replies = self._backend.gather(commands).all()
        return {
            gateway_id: _values(reply)
            for shard, ids in asked.items()
            for gateway_id, reply in zip(ids, replies[shard], strict=True)
            if reply is not None
        }

    def _keys_of(self, gateway_id: str) -> Keys:
        return self._keys[shard_number(gateway_id, len(self._keys))]


def _text(value: object) -> str:
    """A value much like its variable has it."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(reply: str) -> dict[str, str]:
    """What a gateway has published. Another program may have written it."""
    try:
        return {str(name): str(text) for name, text in json.loads(reply).items()}
    except (ValueError, AttributeError):
        return {}
