"""A webhook receiver as a host would write it, over real HTTP, for tests.

It verifies each request by the package `standardwebhooks`, with each of its secrets,
and keeps the newest state of each user by the version. Tests tell it how to answer.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

SECRETS = tuple(
    "whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)
)


@dataclass(frozen=True)
class Received:
    """One request."""

    id: str
    timestamp: int
    signature: str
    body: bytes
    content: dict[str, Any]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the webhook."""
        found: list[dict[str, Any]] = self.content["data"]["events"]
        return found


@dataclass
class State:
    """What the receiver believes of a user."""

    version: int
    status: str
    detail: dict[str, Any] | None


@dataclass
class Receiver:
    """A context manager that serves on a port of its own. `answer` gives the status for
    a request, and may take its time. A receiver that does not accept a webhook ignores
    what it says."""

    port: int = 0
    answer: Callable[[Received], int] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    users: dict[str, State] = field(default_factory=dict)
    faults: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        receiver = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    received = verified(dict(self.headers.items()), body)
                except BaseException as error:  # the test reads it
                    receiver.faults.append(error)
                    raise
                with lock:
                    receiver.requests.append(received)
                status = receiver.answer(received)
                if 200 <= status < 300:
                    with lock:
                        receiver.accept(received)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - a redirect would arrive here

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 50

            def handle_error(self, *_: object) -> None:
                pass  # a sender that was killed, or gave up

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        assert self.faults == []

    @property
    def url(self) -> str:
        """Where it receives."""
        return f"http://127.0.0.1:{self.port}/hook"

    def accept(self, received: Received) -> None:
        """Keep what is newer."""
        for event in received.events:
            known = self.users.get(event["user_id"])
            if known is None or known.version < event["version"]:
                self.users[event["user_id"]] = State(
                    event["version"], event["status"], event.get("detail")
                )

    def statuses(self) -> dict[str, str]:
        """What it believes of all users."""
        return {user: state.status for user, state in dict(self.users).items()}


def verified(headers: dict[str, str], body: bytes) -> Received:
    """The request, if its form is right and each secret has signed it."""
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["content-type"] == "application/json"
    signatures = lower["webhook-signature"].split(" ")
    assert len(signatures) == len(SECRETS)
    for secret, signature in zip(SECRETS, signatures, strict=True):
        alone = {**lower, "webhook-signature": signature}
        content = Webhook(secret).verify(body, alone)
        Webhook(secret).verify(body, lower)
    assert content["type"] == "presence.changed"
    assert abs(int(lower["webhook-timestamp"]) - time.time()) < 60
    events = content["data"]["events"]
    assert 1 <= len(events) <= 100
    names = [event["user_id"] for event in events]
    assert len(set(names)) == len(names)
    return Received(
        lower["webhook-id"],
        int(lower["webhook-timestamp"]),
        lower["webhook-signature"],
        body,
        content,
    )
