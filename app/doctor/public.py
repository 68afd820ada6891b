"""Checks of the public URL: what a browser meets on its way through the proxies."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from app.doctor.findings import Finding, ok, problem, warning
from app.doctor.http import SECONDS, STATUS_PATH, ask
from app.doctor.same_secrets import check_secrets_at
from config import Settings
from models.events import CloseCode

SUBJECT = "url"
READ_BYTES = 65536
NO_ANSWER = "Check whether the web processes run, and the proxy, if one is in front"
UNTRUSTED = (
    "If the certificate is self-signed, run this with SSL_CERT_FILE=fullchain.pem, the "
    "file of the certificate. Otherwise check the certificate in the proxy: its names, "
    "its end, and the whole chain"
)


def check_public_url(settings: Settings, url: str) -> Iterator[Finding]:
    """REST, WebSocket and origins through `url`, and what should be closed there."""
    base = url.rstrip("/")
    try:
        status, _, body = ask("GET", f"{base}/healthz")
    except urllib3.exceptions.HTTPError as error:
        yield problem(
            SUBJECT,
            f"{base} does not answer: {error}",
            UNTRUSTED if _is_untrusted(error) else NO_ANSWER,
        )
        return
    if status != HTTPStatus.OK or not _is_healthy(body):
        yield problem(
            SUBJECT,
            f"{base}/healthz answers {status}, and not as Greendot does",
            "Check the URL. If a proxy is in front, let it pass all paths to the web "
            "processes",
        )
        return
    yield _socket(base, len(settings.allowed_origins))
    yield from _origins(settings, base)
    yield from check_secrets_at(settings, base)
    if ask("GET", f"{base}/metrics")[0] == HTTPStatus.OK:
        yield warning(
            SUBJECT,
            "/metrics is open to everybody, and says how many users are online",
            "Close it in the proxy, if nobody may know",
        )
    if base.startswith("http://") and "://localhost" not in base:
        yield warning(
            SUBJECT,
            "it has no https, so others on the network can read tokens",
            "Put TLS in front",
        )


def _is_untrusted(error: Exception) -> bool:
    """Whether TLS failed because of the server's certificate."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _is_healthy(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["status"] == "ok")
    except (ValueError, LookupError, TypeError):
        return False


def _socket(base: str, origins: int) -> Finding:
    """Open a WebSocket without a token: Greendot accepts it, and closes it by 4401."""
    try:
        answer = _answer_to_handshake(base)
    except (OSError, RemoteProtocolError) as error:
        answer = str(error)
    if answer == CloseCode.NOT_AUTHENTICATED:
        why = "" if origins else ", because PRESENCE_ALLOWED_ORIGINS has none"
        checked = f"allowed origins checked: {origins}{why}"
        return ok(SUBJECT, f"WebSockets and REST come through; {checked}")
    return problem(
        SUBJECT,
        f"no WebSocket comes through: {answer}",
        "If a proxy is in front, let it pass the headers Upgrade and Connection of "
        "/ws, see docs/INSTALL.md",
    )


def _answer_to_handshake(base: str) -> int | str:
    """The close code of the socket, or what came instead of it.

    Raises:
        OSError: the connection failed.
        wsproto.utilities.RemoteProtocolError: the answer is not HTTP.
    """
    parts = urlsplit(f"{base}/ws")
    is_secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if is_secure else 80)
    link = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((host, port), SECONDS) as plain:
        wire = plain
        if is_secure:
            context = ssl.create_default_context()
            wire = context.wrap_socket(plain, server_hostname=host)
        wire.sendall(link.send(Request(host=parts.netloc, target=parts.path)))
        while data := wire.recv(READ_BYTES):
            link.receive_data(data)
            for event in link.events():
                if isinstance(event, CloseConnection):
                    return event.code
                if isinstance(event, RejectConnection):
                    return f"HTTP {event.status_code}"
    return "the connection ended"


def _origins(settings: Settings, base: str) -> Iterator[Finding]:
    for origin in settings.allowed_origins:
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        _, headers, _ = ask("OPTIONS", base + STATUS_PATH, asked)
        if headers.get("Access-Control-Allow-Origin") != origin:
            yield problem(
                SUBJECT,
                f"a page of {origin} may not call it",
                "Give the web processes the same PRESENCE_ALLOWED_ORIGINS, and let no "
                "proxy answer OPTIONS itself",
            )
