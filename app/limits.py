"""How often a user or an address may call. All limits are off by default.

If Redis is away, a call is let pass and counted in a metric: presence must not fail
because its limits do.
"""

from __future__ import annotations

import logging
import math
from ipaddress import IPv6Address, IPv6Network, ip_address

from app.gateway.metrics import ALLOWED, REFUSED, SKIPPED, Counts
from config import Limit, Settings
from models.presence import Presence, PresenceUnavailable

log = logging.getLogger(__name__)

_NETWORK_BITS = 64
"""A household or a server usually has so large a part of IPv6 for itself."""


class OverLimit(Exception):
    """The caller has made too many calls. `retry_after` is in whole seconds."""

    def __init__(self, wait_ms: int) -> None:
        self.retry_after = max(1, math.ceil(wait_ms / 1000))
        super().__init__(f"too many calls; try again in {self.retry_after} s")


class Limits:
    """The limits of one web process. Methods raise `OverLimit`."""

    def __init__(self, settings: Settings, presence: Presence, counts: Counts) -> None:
        self._settings = settings
        self._presence = presence
        self._counts = counts

    def rest(self, user_id: str) -> None:
        """Count a REST call of a user."""
        self._count("rest", "rest", user_id, self._settings.limit_rest)

    def ticket(self, user_id: str) -> None:
        """Count a ticket of a user."""
        self._count("tickets", "tickets", user_id, self._settings.limit_tickets)

    def handshake_of_user(self, user_id: str) -> None:
        """Count a handshake whose user is known."""
        limit = self._settings.limit_handshakes_user
        self._count("handshakes_user", "handshakes", user_id, limit)

    def handshake_from(self, peer: str, forwarded_for: str) -> None:
        """Count a handshake from the address `peer`. `forwarded_for` is the header
        X-Forwarded-For. It counts only as far as trusted proxies have written it."""
        limit = self._settings.limit_handshakes_address
        if limit is not None:
            proxies = self._settings.trusted_proxies
            address = client_address(peer, forwarded_for, proxies)
            self._count("handshakes_address", "addresses", address, limit)

    def _count(self, name: str, kind: str, caller: str, limit: Limit | None) -> None:
        """`name` is that of the limit in /metrics, and `kind` that of its keys."""
        if limit is None:
            return
        window_ms = int(limit.seconds * 1000)
        try:
            wait = self._presence.limits.count(kind, caller, limit.most, window_ms)
        except PresenceUnavailable as error:
            log.debug("a call was not counted: %s", error)
            self._counts.limits_skipped += 1
            self._counts.limit_calls[name, SKIPPED] += 1
            return
        if wait:
            self._counts.over_limit += 1
            self._counts.limit_calls[name, REFUSED] += 1
            raise OverLimit(wait)
        self._counts.limit_calls[name, ALLOWED] += 1


def client_address(peer: str, forwarded_for: str, proxies: int) -> str:
    """The client's address, or its network with IPv6. Each proxy adds the address that
    it sees to the end of `forwarded_for`. So with `proxies` trusted ones the address is
    that many entries from the end. What stands before it, the client may have made
    up."""
    entries = [entry.strip() for entry in forwarded_for.split(",") if entry.strip()]
    text = entries[-proxies] if 0 < proxies <= len(entries) else peer
    try:
        address = ip_address(text)
    except ValueError:
        return text[:100]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address), _NETWORK_BITS), strict=False))
    return str(address)
