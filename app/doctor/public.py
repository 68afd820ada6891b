"""Checks of the public URL: what a browser meets on its way through the proxies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus

import urllib3
from simple_websocket import Client, ConnectionClosed
from simple_websocket import ConnectionError as Refused

from app.doctor.findings import Finding, ok, problem, warning
from config import Settings
from models.events import CloseCode

SUBJECT = "url"
SECONDS = 10.0
STATUS_PATH = "/api/friends/online-status"


def check_public_url(settings: Settings, url: str) -> Iterator[Finding]:
    """REST, WebSocket and origins through `url`, and what should be closed there."""
    base = url.rstrip("/")
    try:
        status, _, body = _ask("GET", f"{base}/healthz")
    except urllib3.exceptions.HTTPError as error:
        yield problem(SUBJECT, f"{base} does not answer: {error}", "Check the proxy")
        return
    if status != HTTPStatus.OK or not _is_healthy(body):
        yield problem(
            SUBJECT,
            f"{base}/healthz answers {status}, and not as Greendot does",
            "Let the proxy pass all paths to the web processes",
        )
        return
    yield _socket(base)
    yield from _origins(settings, base)
    if _ask("GET", f"{base}/metrics")[0] == HTTPStatus.OK:
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


def _is_healthy(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["status"] == "ok")
    except (ValueError, LookupError, TypeError):
        return False


def _socket(base: str) -> Finding:
    """Open a WebSocket without a token: Greendot accepts it, and closes it by 4401."""
    address = "ws" + base.removeprefix("http") + "/ws"
    try:
        socket = Client.connect(address)
        try:
            frame = socket.receive(timeout=SECONDS)
        finally:
            socket.close()
        answer = repr(frame)
    except ConnectionClosed as closed:
        if int(closed.reason) == CloseCode.NOT_AUTHENTICATED:
            return ok(SUBJECT, "WebSockets and REST come through")
        answer = f"close code {int(closed.reason)}"
    except (Refused, OSError) as error:
        answer = str(error)
    return problem(
        SUBJECT,
        f"no WebSocket comes through: {answer}",
        "Let the proxy pass the headers Upgrade and Connection of /ws, see "
        "docs/OPERATIONS.md",
    )


def _origins(settings: Settings, base: str) -> Iterator[Finding]:
    for origin in settings.allowed_origins:
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        _, headers, _ = _ask("OPTIONS", base + STATUS_PATH, asked)
        if headers.get("Access-Control-Allow-Origin") != origin:
            yield problem(
                SUBJECT,
                f"a page of {origin} may not call it",
                "The web processes have another PRESENCE_ALLOWED_ORIGINS, or a proxy "
                "answers OPTIONS itself",
            )


def _ask(
    method: str, url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    answer = urllib3.request(
        method, url, headers=headers, timeout=SECONDS, retries=False, redirect=False
    )
    return answer.status, answer.headers, answer.data
