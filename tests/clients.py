"""A scripted WebSocket client for tests: sees every frame, and keeps what it saw."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.frames_document import check_frame
from tests.system import System

PATIENCE = 10.0
"""Seconds that a frame may take before a test fails."""


class Client:
    """One socket of one user. Beats by itself where `beats` (seconds) is given."""

    def __init__(
        self,
        system: System,
        user_id: str | None = None,
        *,
        web: int = 0,
        token: str | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        beats: float | None = 1.0,
    ) -> None:
        self.user_id = user_id
        headers = dict(headers or {})
        if user_id is not None:
            token = system.token(user_id)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = f"ws://127.0.0.1:{system.web_ports[web]}/ws{query}"
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(
            connect(
                url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,
                max_queue=None,  # one that stops reading sees no end, and waits 10 s
            )
        )
        self.seen: list[dict[str, Any]] = []
        self._ended = threading.Event()
        if beats is not None:
            threading.Thread(target=self._beat, args=(beats,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _beat(self, every: float) -> None:
        while not self._ended.wait(every):
            try:
                self.send("heartbeat")
            except ConnectionClosed:
                return

    def send(self, event: str, data: dict[str, Any] | None = None) -> None:
        """Send one event."""
        self.socket.send(json.dumps({"event": event, "data": data or {}}))

    def receive(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next frame; TimeoutError where none comes. It must be as
        docs/asyncapi.yaml says."""
        frame: dict[str, Any] = json.loads(self.socket.recv(timeout=patience))
        check_frame(frame)
        self.seen.append(frame)
        return frame

    def expect(self, event: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The data of the next frame of that event; others are passed over."""
        deadline = time.monotonic() + patience
        while True:
            frame = self.receive(max(0.0, deadline - time.monotonic()))
            if frame["event"] == event:
                data: dict[str, Any] = frame["data"]
                return data

    def opened(self) -> Client:
        """Wait for the snapshot: from now on nothing is missed."""
        self.expect("presence_snapshot")
        return self

    def changes(self, seconds: float) -> list[tuple[str, str]]:
        """All (user, status) that come within `seconds`."""
        deadline = time.monotonic() + seconds
        found: list[tuple[str, str]] = []
        while True:
            try:
                frame = self.receive(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                return found
            if frame["event"] == "friend_status_changed":
                found.append((frame["data"]["user_id"], frame["data"]["status"]))

    def expect_change(
        self, user_id: str, status: str, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """The next status change, which has to be this one."""
        data = self.expect("friend_status_changed", patience)
        assert (data["user_id"], data["status"]) == (user_id, status)
        return data

    def expect_close(self, patience: float = PATIENCE) -> int:
        """The close code that the server sends; other frames are passed over."""
        deadline = time.monotonic() + patience
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                self.receive(max(0.0, deadline - time.monotonic()))
        assert closed.value.rcvd is not None, "ended without a close frame"
        return closed.value.rcvd.code

    def stop_beating(self) -> None:
        """Fall silent, with the socket open."""
        self._ended.set()

    def close(self) -> None:
        """Close the socket as a browser does."""
        self._ended.set()
        self._stack.close()
