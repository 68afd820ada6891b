"""The public keys that the host's identity provider publishes (JWKS, RFC 7517).

PyJWT's client fetches and parses them. This module decides when. A token names its key
by `kid`, before anything about the token is verified. So anybody can name keys that do
not exist, and fetches must be limited.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import gevent
import jwt
from jwt import PyJWK, PyJWKClient, PyJWTError

from app.outages import Outage
from public_keys import algorithm_of

log = logging.getLogger(__name__)

LIFETIME = 300.0
"""Seconds after which the keys are fetched again. A key that the provider has withdrawn
works for so long. If the provider does not answer, the known keys go on working."""
TIMEOUT = 5.0
"""Seconds that the provider has to answer."""
MAX_WAIT = 1.0
"""Seconds that a token with a known key waits for fresh keys."""
FETCHES_AT_ONCE = 5
FETCH_EVERY = 10.0
"""A process may fetch FETCHES_AT_ONCE times at once, and after that once in this many
seconds."""
MAX_ABSENT = 1_000
"""So many names of keys are remembered that the provider does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A key that verifies tokens, and the one algorithm that it is used with."""

    algorithm: str
    key: object


class UnknownKey(Exception):
    """The provider has no key of that name."""


class KeysUnavailable(Exception):
    """The key is not known here, and the provider cannot be asked now."""


class Jwks:
    """The keys at `url`, as this process knows them. Fetches on first use."""

    def __init__(self, url: str) -> None:
        self._client = PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT)
        self._keys: dict[str, tuple[Key]] = {}
        self._fetched_at = float("-inf")
        self._fetch: gevent.Greenlet[[], bool] | None = None
        self._allowance = float(FETCHES_AT_ONCE)
        self._counted_at = time.monotonic()
        self._absent: dict[str, float] = {}
        """Names that the provider did not know, and when (monotonic seconds)."""
        self._outage = Outage("PRESENCE_JWKS_URL gives no keys", alone=True)

    def keys_for(self, token: str) -> tuple[Key]:
        """The key that `token` names.

        Raises:
            jwt.InvalidTokenError: the head of the token cannot be read.
            UnknownKey: the provider has no such key.
            KeysUnavailable: the key is unknown here, and the provider cannot be asked.
        """
        name = jwt.get_unverified_header(token).get("kid")
        if not isinstance(name, str):
            message = "its header has no kid"
            raise UnknownKey(message)
        now = time.monotonic()
        known = self._keys.get(name)
        if known is not None and now - self._fetched_at < LIFETIME:
            return known
        if known is None and now - self._absent.get(name, float("-inf")) < FETCH_EVERY:
            raise _unknown(name)
        is_own = self._fetch is None
        is_answered = self._refresh(None if known is None else MAX_WAIT)
        found = self._keys.get(name) or (None if is_answered else known)
        if found is not None:
            return found
        # A fetch that began before this token came may have missed a new key.
        if not is_answered or not is_own:
            message = "the keys at PRESENCE_JWKS_URL cannot be read now"
            raise KeysUnavailable(message)
        if len(self._absent) >= MAX_ABSENT:
            self._absent.clear()
        self._absent[name] = now
        raise _unknown(name)

    def _refresh(self, timeout: float | None) -> bool:
        """Fetch the keys, or join the fetch that is running. Returns False if there was
        no answer within `timeout` seconds, or no fetch is allowed now."""
        if self._fetch is None:
            if not self._may_fetch():
                return False
            self._fetch = gevent.spawn(self._fetch_keys)
        fetch = self._fetch
        fetch.join(timeout)
        return fetch.successful() and bool(fetch.value)

    def _may_fetch(self) -> bool:
        now = time.monotonic()
        grown = self._allowance + (now - self._counted_at) / FETCH_EVERY
        self._allowance = min(float(FETCHES_AT_ONCE), grown)
        self._counted_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _fetch_keys(self) -> bool:
        try:
            fetched = self._client.get_signing_keys()
        except (PyJWTError, OSError, ValueError, RecursionError) as error:
            self._outage.failed(error)
            return False
        finally:
            self._fetch = None
        self._outage.succeeded()
        self._fetched_at = time.monotonic()
        found = {one.key_id: self._usable(one) for one in fetched if one.key_id}
        self._keys = {name: (key,) for name, key in found.items() if key is not None}
        return True

    def _usable(self, fetched: PyJWK) -> Key | None:
        """The key for tokens. None for a key of another kind, a shared secret for
        example: whoever can read the URL could sign tokens with it."""
        algorithm = algorithm_of(fetched.key)
        if algorithm is None or fetched.algorithm_name != algorithm:
            log.debug("the key %s is not for tokens", fetched.key_id)
            return None
        before = self._keys.get(fetched.key_id or "")
        # The same object for the same key: verified tokens are remembered with it.
        if before is not None and before[0].key == fetched.key:
            return before[0]
        return Key(algorithm, fetched.key)


def _unknown(name: str) -> UnknownKey:
    return UnknownKey(f"PRESENCE_JWKS_URL has no key {name[:100]!r}")
