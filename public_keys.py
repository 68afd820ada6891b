"""The public keys that tokens may be signed with, and which algorithm each one takes.

The type of a key decides the algorithm. The header of a token has no say in it, because
anybody can write a header.
"""

from __future__ import annotations

from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

LEAST_RSA_BITS = 2048
"""RFC 7518, section 3.3."""
ALGORITHMS = "RS256 (RSA of 2048 bits or more), ES256 (P-256) or EdDSA (Ed25519)"

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def algorithm_of(key: object) -> str | None:
    """The JWT algorithm of `key`. None if tokens may not be signed with such a key."""
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    return None


def public_key(pem: str) -> PublicKey:
    """The key in the text `pem`.

    Raises:
        ValueError: the text is not a public key in PEM, or not one for tokens. The
            message does not show the text: it may be a private key.
    """
    if "PRIVATE KEY" in pem:
        message = "is a private key: it takes the public one, and that one only"
        raise ValueError(message)
    try:
        key = load_pem_public_key(pem.encode())
    except Exception as error:  # the library raises many kinds
        message = (
            "takes a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----"
        )
        raise ValueError(message) from error
    if algorithm_of(key) is None:
        message = f"takes a public key for {ALGORITHMS}"
        raise ValueError(message)
    found: PublicKey = key  # type: ignore[assignment]
    return found
