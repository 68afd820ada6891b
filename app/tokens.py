"""Tokens: JWTs whose `sub` is the user id, and what they are verified with.

The configuration decides the algorithm: HS256 for `PRESENCE_JWT_SECRET`, and for public
keys what the type of the key takes. A token's own header only has to agree. Otherwise a
client could sign with HS256, and with the public key as the secret.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial

import jwt

from app.jwks import Jwks, Key, KeysUnavailable, UnknownKey
from app.revocations import REVOKED, Revocations
from config import Settings
from models.identifiers import InvalidIdentifier, check_user_id
from public_keys import algorithm_of, public_key

HS256 = "HS256"
EXPIRED = "the token has expired"
TOKENS_REMEMBERED = 4096
"""One process remembers this many verified tokens (about 2 MB). A page sends the same
token several times while it loads, and verifying a token takes 50 us or more."""
LEEWAY = 60.0
"""Seconds by which `nbf` and `iat` may be in the future, because the host's clock may
be ahead of ours."""
_TIMES = ("exp", "nbf", "iat")

__all__ = ["BadToken", "Identity", "KeysUnavailable", "Tokens", "issue_token"]


class BadToken(ValueError):
    """The token is not valid. The message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and when the token was issued and expires: in seconds since the epoch.
    None if the token does not say it."""

    user_id: str
    expires_at: float | None
    issued_at: float | None = None


def issue_token(
    settings: Settings,
    user_id: str,
    lifetime_seconds: float,
    issued_at: int | None = None,
) -> str:
    """A token for `user_id` that is valid for `lifetime_seconds`, signed with the first
    secret. `issued_at` is in seconds since the epoch; by default it is now.

    Raises:
        ValueError: there is no secret, because public keys verify the tokens.
    """
    if not settings.jwt_secrets:
        message = (
            "only the host can sign tokens: Greendot has public keys, and no "
            "PRESENCE_JWT_SECRET"
        )
        raise ValueError(message)
    now = int(time.time()) if issued_at is None else issued_at
    claims: dict[str, object] = {
        "sub": user_id,
        "iat": now,
        "exp": now + int(lifetime_seconds),
    }
    if settings.jwt_audience:
        claims["aud"] = settings.jwt_audience
    if settings.jwt_issuer:
        claims["iss"] = settings.jwt_issuer
    return jwt.encode(claims, settings.jwt_secrets[0], algorithm=HS256)


class Tokens:
    """Reads tokens. `revocations` says which tokens the host has revoked."""

    def __init__(self, settings: Settings, revocations: Revocations) -> None:
        self._keys_for = _key_source(settings)
        self.revocations = revocations
        self._verified = lru_cache(TOKENS_REMEMBERED)(partial(_verified, settings))

    def read(self, token: str) -> Identity:
        """The identity in `token`.

        Raises:
            BadToken: the signature is wrong, the token is not valid now or was revoked,
                or its `sub` is not a user id.
            KeysUnavailable: the keys cannot be fetched now.
            sqlalchemy.exc.SQLAlchemyError: this process has not read the revocations
                yet, and the database is down.
        """
        try:
            verified = self._verified(token, self._keys_for(token))
        except (jwt.InvalidTokenError, InvalidIdentifier, UnknownKey) as error:
            message = f"the token is not valid: {error}"
            raise BadToken(message) from None
        except RecursionError:
            message = "the token is not valid: its JSON is nested too deeply"
            raise BadToken(message) from None
        verified.check_times(time.time())
        self.check_revocation(verified.identity)
        return verified.identity

    def check_revocation(self, identity: Identity) -> None:
        """Check that the host has not revoked the token or ticket of `identity`.

        Raises:
            BadToken: it was revoked.
            sqlalchemy.exc.SQLAlchemyError: as for `read`.
        """
        self.revocations.ensure_read()
        if self.revocations.refuses(identity.user_id, identity.issued_at):
            raise BadToken(REVOKED)


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature is right. Its times are not checked yet."""

    identity: Identity
    begins: tuple[tuple[str, float], ...]
    """Claims and their times. Before such a time the token is not valid."""

    def check_times(self, now: float) -> None:
        """Check that the token is valid `now` (seconds since the epoch).

        Raises:
            BadToken: it is not valid yet, or has expired.
        """
        for name, begin in self.begins:
            if begin > now + LEEWAY:
                message = f"the token is not valid yet: its {name} is in the future"
                raise BadToken(message)
        end = self.identity.expires_at
        if end is not None and end <= now:
            raise BadToken(EXPIRED)


def _key_source(settings: Settings) -> Callable[[str], tuple[Key, ...]]:
    """What gives the keys that a token may be signed with."""
    if settings.jwks_url:
        return Jwks(settings.jwks_url).keys_for
    if settings.jwt_public_key:
        key = public_key(settings.jwt_public_key)
        keys: tuple[Key, ...] = (Key(algorithm_of(key) or "", key),)
    else:
        keys = tuple(Key(HS256, secret) for secret in settings.jwt_secrets)
    return lambda _token: keys


def _verified(settings: Settings, token: str, keys: tuple[Key, ...]) -> _Verified:
    """The content of `token`, which one of `keys` must have signed. Results are cached,
    so nothing here may depend on the current time; `check_times` does that."""
    for key in keys:
        with suppress(jwt.InvalidSignatureError):
            return _content(_claims(settings, token, key))
    signed_by = "PRESENCE_JWT_SECRET"
    if not settings.jwt_secrets:
        signed_by = "the public key"
    message = f"it is not signed with {signed_by}"
    raise jwt.InvalidSignatureError(message)


def _claims(settings: Settings, token: str, key: Key) -> dict[str, object]:
    audience, issuer = settings.jwt_audience, settings.jwt_issuer
    required = ["sub"]
    if audience:
        required.append("aud")
    if issuer:
        required.append("iss")
    claims: dict[str, object] = jwt.decode(
        token,
        key.key,  # type: ignore[arg-type]
        algorithms=[key.algorithm],
        audience=audience,
        issuer=issuer,
        options={
            "require": required,
            "verify_aud": audience is not None,
            "verify_iss": issuer is not None,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_sub": False,
        },
    )
    return claims


def _content(claims: dict[str, object]) -> _Verified:
    user_id = _user_id(claims["sub"])
    times = {name: _seconds(name, claims[name]) for name in _TIMES if name in claims}
    begins = tuple((name, times[name]) for name in ("nbf", "iat") if name in times)
    return _Verified(Identity(user_id, times.get("exp"), times.get("iat")), begins)


def _user_id(subject: object) -> str:
    """The user id in `sub`. Some hosts number their users, and many JWT libraries then
    write a number instead of a string."""
    return check_user_id(str(subject) if type(subject) is int else subject)


def _seconds(name: str, value: object) -> float:
    """A time in a token. The number in the JSON may be too large for a float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(seconds := float(value)):
                return seconds
    message = f"{name} is not a number of seconds"
    raise jwt.InvalidTokenError(message)
