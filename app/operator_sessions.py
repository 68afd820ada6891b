"""What signs the sessions and forms of the operators' page.

The service key signs them, so the key itself is in no page and no cookie. `flask
doctor` uses this too.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

from itsdangerous import TimestampSigner, URLSafeTimedSerializer

COOKIE = "greendot_operator"
PATH = "/admin"
SESSION_SECONDS = 8 * 3600
"""Seconds after which an operator signs in again, and a form is too old."""
SHORT_SECONDS = 300
"""Seconds for which `short_session` is valid. The clocks of two computers may differ
by less."""


def signer(
    service_key: str, purpose: str, kind: type[TimestampSigner] = TimestampSigner
) -> URLSafeTimedSerializer:
    """What signs and verifies values for `purpose`."""
    return URLSafeTimedSerializer(
        service_key,
        salt=f"greendot operators {purpose}",
        signer=kind,
        signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
    )


def new_session(service_key: str, kind: type[TimestampSigner] = TimestampSigner) -> str:
    """The cookie of a new session."""
    return signer(service_key, "session", kind).dumps(secrets.token_hex(16))


def short_session(service_key: str) -> str:
    """The cookie of a session that ends soon. A gateway accepts it only if it has the
    same service key."""
    return new_session(service_key, _OldSigner)


class _OldSigner(TimestampSigner):
    """Signs as if the session had begun long ago."""

    def get_timestamp(self) -> int:
        """When the session began, in seconds since the epoch."""
        return super().get_timestamp() - SESSION_SECONDS + SHORT_SECONDS
