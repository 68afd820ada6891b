"""Keys, tokens signed with them, and a real HTTP server that publishes the keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.servers import free_port

RS256, ES256, EDDSA = "RS256", "ES256", "EdDSA"
PUBLIC = (RS256, ES256, EDDSA)


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """A private key for that algorithm; another number is another key."""
    del number
    if algorithm == RS256:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm == ES256:
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(algorithm: str, number: int = 0) -> str:
    """The public part as PEM."""
    key = private_key(algorithm, number).public_key()
    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def public_jwk(algorithm: str, name: str, number: int = 0) -> dict[str, Any]:
    """The public part as an entry of a JWKS."""
    known = jwt.get_algorithm_by_name(algorithm)
    entry: dict[str, Any] = json.loads(
        known.to_jwk(private_key(algorithm, number).public_key())
    )
    return {**entry, "kid": name, "use": "sig"}


def signed(
    algorithm: str,
    *,
    number: int = 0,
    kid: str | None = None,
    lifetime: float = 3600,
    **claims: object,
) -> str:
    """A token of ann, issued now, by that key."""
    now = time.time()
    content = {"sub": "ann", "iat": int(now), "exp": now + lifetime, **claims}
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(content, private_key(algorithm, number), algorithm, headers)


class Provider:
    """An identity provider: publishes `keys` while it runs, and counts the reads."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.answer: bytes | None = None
        """Is sent in place of the keys."""
        self.reads = 0
        self.delay = 0.0
        """Seconds that an answer takes."""
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """What PRESENCE_JWKS_URL takes."""
        return f"http://127.0.0.1:{self._port}/jwks.json"

    def start(self) -> None:
        """Listen."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.reads += 1
                time.sleep(provider.delay)
                body = provider.answer or json.dumps({"keys": provider.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def running_provider(*keys: dict[str, Any]) -> Iterator[Provider]:
    """A provider with `keys`, for the time of the block."""
    provider = Provider()
    provider.keys = list(keys)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
