"""Clients that keep every frame, and plain REST calls that keep every byte."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from websockets.exceptions import ConnectionClosed

from tests.clients import Client
from tests.system import System, wait_until


class Known(NamedTuple):
    """What a client knows of one user."""

    status: str
    timestamp: int


class Frame(NamedTuple):
    """One frame, as it came."""

    raw: str
    event: str
    data: dict[str, Any]


class Watcher:
    """A client that follows the rules of docs/PROTOCOL.md: a snapshot replaces the map,
    and the newest timestamp wins. It sends no heartbeats by itself."""

    def __init__(
        self, system: System, user_id: str, web: int = 0, query: str = ""
    ) -> None:
        self.user_id = user_id
        self.web = web
        self.query = query
        self.map: dict[str, Known] = {}
        self.frames: list[Frame] = []
        self.is_open = True
        self.has_snapshot = False
        self.went_back: list[tuple[str, str]] = []
        """Users whose timestamp went back, and how."""
        self._heard: dict[str, Known] = {}
        self._client = Client(system, user_id, web=web, query=query, beats=None)

    def opened(self) -> Self:
        """Wait for the snapshot."""

        def has_snapshot() -> bool:
            self.pump()
            return self.has_snapshot

        wait_until(has_snapshot, 30)
        return self

    def pump(self) -> list[Frame]:
        """Take in all frames that have come, and return them."""
        new: list[Frame] = []
        while self.is_open:
            try:
                raw = self._client.socket.recv(timeout=0)
            except TimeoutError:
                break
            except ConnectionClosed:
                self.is_open = False
                break
            assert isinstance(raw, str)
            parsed = json.loads(raw)
            frame = Frame(raw, parsed["event"], parsed["data"])
            self._take(frame)
            new.append(frame)
        self.frames += new
        return new

    def beat(self) -> None:
        """Send a heartbeat."""
        self._client.send("heartbeat")

    def say_idle(self, *, idle: bool) -> None:
        """Say whether somebody is there."""
        self._client.send("activity", {"idle": idle})

    def leave(self) -> None:
        """Log out, and wait until the server has closed."""
        self._client.send("leave")
        self._until_closed()

    def close(self) -> None:
        """Close as a browser does, without logging out."""
        self._client.close()
        self.is_open = False

    def wait_for(self, user_id: str, status: str) -> None:
        """Wait until the map says so."""

        def is_known() -> bool:
            self.pump()
            known = self.map.get(user_id)
            return known is not None and known.status == status

        wait_until(is_known, 30)

    def _until_closed(self) -> None:
        def is_closed() -> bool:
            self.pump()
            return not self.is_open

        wait_until(is_closed, 30)
        self._client.close()

    def _take(self, frame: Frame) -> None:
        if frame.event == "presence_snapshot":
            self.has_snapshot = True
            self.map = {}
            for user_id, entry in frame.data["statuses"].items():
                known = Known(entry["status"], entry["timestamp"])
                heard = self._heard.get(user_id)
                if heard is not None and heard.timestamp > known.timestamp:
                    known = heard
                self.map[user_id] = known
        elif frame.event == "friend_status_changed":
            user_id = frame.data["user_id"]
            known = Known(frame.data["status"], frame.data["timestamp"])
            before_it = self.map.get(user_id)
            if before_it is not None and known.timestamp < before_it.timestamp:
                self.went_back.append((user_id, f"{before_it}: {frame}"))
            if before_it is None or known.timestamp > before_it.timestamp:
                self.map[user_id] = known
            heard = self._heard.get(user_id)
            if heard is None or known.timestamp > heard.timestamp:
                self._heard[user_id] = known


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. `headers` are in order, and lack Date."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body) if self.body else None


def call(
    system: System,
    method: str,
    path: str,
    body: object = None,
    *,
    web: int = 0,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One HTTP call."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", system.web_ports[web], timeout=30
    )
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers or {})
        response = connection.getresponse()
        kept = tuple(one for one in response.getheaders() if one[0] != "Date")
        return Answer(response.status, kept, response.read().decode())
    finally:
        connection.close()


def call_as(
    system: System,
    user_id: str,
    method: str,
    path: str,
    body: object = None,
    *,
    web: int = 0,
) -> Answer:
    """One HTTP call of a user, signed in by a bearer token."""
    headers = {"Authorization": f"Bearer {system.token(user_id)}"}
    return call(system, method, path, body, web=web, headers=headers)


def patch(
    system: System, user_id: str, fields: dict[str, Any], *, web: int = 0
) -> dict[str, Any]:
    """Change a user's settings. Returns the new ones."""
    answer = call_as(system, user_id, "PATCH", "/api/me/presence", fields, web=web)
    assert answer.status == 200, answer
    data: dict[str, Any] = answer.json["data"]
    return data


class Sentinel:
    """A user whom all watchers see. When a watcher has heard of a change of the
    sentinel, it has also got every event that was on its way before that change."""

    def __init__(self, system: System, user_id: str) -> None:
        self.user_id = user_id
        self._system = system
        self._watcher: Watcher | None = None

    def turn(self) -> str:
        """Come or go. Returns the new status."""
        if self._watcher is None:
            self._watcher = Watcher(self._system, self.user_id)
            wait_until(lambda: self._system.is_online(self.user_id), 30)
            return "online"
        self._watcher.leave()
        self._watcher = None
        wait_until(lambda: not self._system.is_online(self.user_id), 30)
        return "offline"

    def pass_by(self, *watchers: Watcher) -> None:
        """Come or go, and wait until `watchers` know."""
        status = self.turn()
        for watcher in watchers:
            watcher.wait_for(self.user_id, status)

    def close(self) -> None:
        """Go."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
