"""Many clients in one process, light enough not to be the bottleneck.

They stand on uvloop and picows. A `Swarm` holds the users of a graph; each has at most
one socket. What they are told is handed to the load's hooks, `on_change` and
`on_snapshot`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jwt
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.graph import Graph, user_id, user_number
from bench.wire import PROTOCOLS

HANDSHAKE_SECONDS = 30.0
HEARTBEAT_INTERVAL = 20.0
HEARTBEAT_SLOTS = 200
"""Heartbeats are spread over that many ticks of an interval."""
READ_BUFFER = 2048
NORMAL, GOING_AWAY = 1000, 1001
"""Close codes."""


class Failed(Exception):
    """A connection was refused, or was not ready in time."""


class User:
    """One user. `socket` is set from the handshake on, `ready` from the snapshot on."""

    __slots__ = ("number", "ready", "socket", "token")

    def __init__(self, number: int, token: str) -> None:
        self.number = number
        self.token = token
        self.socket: ClientSocket | None = None
        self.ready = False


class ClientSocket(WSListener):  # type: ignore[misc]
    """One connection of a user; once it is no longer the user's, it is ignored."""

    def __init__(self, swarm: Swarm, user: User) -> None:
        self.swarm = swarm
        self.user = user
        self.token = user.token
        self.transport: WSTransport | None = None
        self.snapshot: asyncio.Future[None] = swarm.loop.create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self.transport = transport
        if self.user.socket is not self:
            # Given up meanwhile: the server must not go on counting it.
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came."""
        if frame.msg_type == WSMsgType.TEXT:
            self.swarm.take(frame.get_payload_as_bytes(), self)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """The socket has ended."""
        if not self.snapshot.done():
            self.snapshot.set_exception(Failed("closed before the snapshot"))
            self.snapshot.exception()  # it may be that nobody waits
        if self.user.socket is self:
            self.user.socket = None
            self.user.ready = False
            self.swarm.dropped += 1

    def send(self, payload: bytes) -> None:
        """Send a text frame."""
        if self.transport is not None:
            self.transport.send(WSMsgType.TEXT, payload)

    def close(self, code: int) -> None:
        """Send a close frame, and end the socket."""
        if self.transport is not None:
            self.transport.send_close(code)
            self.transport.disconnect()

    def on_snapshot(self, statuses: dict[str, dict[str, Any]]) -> None:
        """The status map came: the client is ready."""
        user = self.user
        if user.socket is not self:
            return
        user.ready = True
        if self.swarm.on_snapshot is not None:
            self.swarm.on_snapshot(user.number, statuses)
        if not self.snapshot.done():
            self.snapshot.set_result(None)

    def on_change(self, user: str, status: str, timestamp: int) -> None:
        """A friend's status changed."""
        if self.user.socket is self and self.swarm.on_change is not None:
            self.swarm.on_change(self.user.number, user_number(user), status, timestamp)


class Swarm:
    """All clients, or those whose users have the numbers in `part`. `dropped` counts
    sockets that the server has ended unasked. The clients connect from the addresses in
    `sources` in turn, because each address has only some 28,000 ports."""

    def __init__(
        self,
        graph: Graph,
        protocol: str,
        address: str,
        secret: str,
        part: range | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        self.graph = graph
        self.loop = asyncio.get_running_loop()
        self.wire = PROTOCOLS[protocol]
        self.take = self.wire.take
        self.address = address
        self.dropped = 0
        self.on_change: Callable[[int, int, str, int], None] | None = None
        self.on_snapshot: Callable[[int, dict[str, dict[str, Any]]], None] | None = None
        expiry = int(time.time()) + 3600
        self.users = [
            User(
                number,
                jwt.encode({"sub": user_id(number), "exp": expiry}, secret, "HS256"),
            )
            for number in part or range(graph.users)
        ]
        self._sources = itertools.cycle([(one, 0) for one in sources] or [None])
        self._url = f"ws://{address}{self.wire.path}"
        self._heartbeats = asyncio.create_task(self._send_heartbeats())

    async def connect(self, user: User) -> None:
        """Open a socket and wait until the user has the status map.

        Raises:
            Failed: it was refused, it ended, or it took too long.
        """
        client = ClientSocket(self, user)
        user.socket = client
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await ws_connect(
                    lambda: client,
                    self._url,
                    websocket_handshake_timeout=HANDSHAKE_SECONDS,
                    extra_headers=self.wire.headers(user.token),
                    read_buffer_init_size=READ_BUFFER,
                    local_addr=next(self._sources),
                )
                await client.snapshot
        except (OSError, TimeoutError, Failed) as error:
            self._give_up(client)
            message = f"{type(error).__name__}: {error}"
            raise Failed(message) from error
        except Exception as error:
            # picows raises its own kinds where a handshake is refused.
            self._give_up(client)
            message = f"{type(error).__name__}: {error}"
            raise Failed(message) from error

    async def connect_all(self, users: Iterable[User], at_once: int = 100) -> None:
        """Connect all, `at_once` at the same time.

        Raises:
            Failed: one of them failed.
        """
        rest = iter(users)

        async def worker() -> None:
            for user in rest:
                await self.connect(user)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    def leave(self, user: User) -> None:
        """Log out: say so, and have the socket closed."""
        client = self._detach(user)
        if client is None or client.transport is None:
            return
        client.send(self.wire.leave)
        if not self.wire.server_closes:
            client.close(NORMAL)

    def close_tab(self, user: User) -> None:
        """Close the socket as a browser does whose tab is closed."""
        client = self._detach(user)
        if client is not None:
            client.close(GOING_AWAY)

    def cut(self, user: User) -> None:
        """End the socket without a word."""
        client = self._detach(user)
        if client is not None and client.transport is not None:
            client.transport.disconnect(graceful=False)

    def close(self) -> None:
        """Cut everybody, and stop the heartbeats."""
        self._heartbeats.cancel()
        for user in self.users:
            self.cut(user)

    @staticmethod
    def _detach(user: User) -> ClientSocket | None:
        client, user.socket, user.ready = user.socket, None, False
        return client

    @staticmethod
    def _give_up(client: ClientSocket) -> None:
        user = client.user
        if user.socket is client:
            user.socket, user.ready = None, False
        if client.transport is not None:
            client.transport.disconnect(graceful=False)

    async def _send_heartbeats(self) -> None:
        heartbeat = self.wire.heartbeat
        if heartbeat is None:
            return
        slot = 0
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL / HEARTBEAT_SLOTS)
            slot = (slot + 1) % HEARTBEAT_SLOTS
            for user in self.users[slot::HEARTBEAT_SLOTS]:
                if user.ready and user.socket is not None:
                    user.socket.send(heartbeat)
