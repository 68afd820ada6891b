"""One scripted client of a user: it comes, beats, and goes in one of several ways.

It is a correct client, by docs/PROTOCOL.md. Of two statuses the newer timestamp wins. A
snapshot replaces the map. A missing answer to a heartbeat means a dead line. It comes
back after every close that asks for it, later after each failure.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from models.events import RETRY, ClientEvent, ServerEvent, Transition
from tests.chaos.proxy import Proxy
from tests.chaos.span import Span
from tests.chaos.stage import HEARTBEAT, TTL

STAYS = (4.0, 24.0)
"""Seconds that a device is there."""
AWAY = (0.3, 10.0)
LEAST_BACKOFF = 0.25
MAX_BACKOFF = 2.0
"""A shorter backoff than a browser's: the other times of these runs are short too."""
OPEN_TIMEOUT = 4.0
MAX_UNANSWERED = 2
"""Heartbeats without an answer after which a line is dead. A client of production has
twenty seconds for one; two of these take three, on a machine that is busy."""
HEARTBEAT_FRAME = json.dumps({"event": ClientEvent.HEARTBEAT, "data": {}})
LEAVE_FRAME = json.dumps({"event": ClientEvent.LEAVE, "data": {}})
WITHOUT_CODE = 1006


class Ending(StrEnum):
    """How a device goes."""

    CLOSE = "close"
    LEAVE = "leave"
    RESET = "reset"
    """The socket ends without a close frame."""
    VANISH = "vanish"
    """Nothing reaches the server any more: a dead battery, a tunnel."""
    SILENT = "silent"
    """The socket stays open, and no heartbeat comes."""


ENDINGS = {
    Ending.CLOSE: 5,
    Ending.LEAVE: 2,
    Ending.RESET: 3,
    Ending.VANISH: 2,
    Ending.SILENT: 1,
}


class Device:
    """A phone or a browser of one user.

    `churn` is set while devices come and go; without it each stays as it is, and those
    that are there come back whenever they lose their socket.
    """

    def __init__(
        self,
        name: str,
        user_id: str,
        token: str,
        lines: list[Proxy],
        *,
        seed: int,
        churn: asyncio.Event,
        on_change: Callable[..., None],
        on_span: Callable[[Span], None],
    ) -> None:
        self.name = name
        self.user_id = user_id
        self.wanted = False
        """Whether its user means to be online with it."""
        self.span: Span | None = None
        self.trouble = ""
        """Why it lost its last socket, or could not open one."""
        self.unexpected: list[str] = []
        """Closes that a correct client should never see."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lines = lines
        self._chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
        self._churn = churn
        self._on_change = on_change
        self._on_span = on_span
        self._socket: ClientConnection | None = None
        self._avoid: int | None = None
        self._left_open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Come and go until it is cancelled."""
        try:
            while True:
                await self._pause(AWAY)
                await self._be_there()
        finally:
            for task in self._left_open:
                task.cancel()

    async def _pause(self, bounds: tuple[float, float]) -> None:
        await asyncio.sleep(self._chance.uniform(*bounds))
        await self._churn.wait()

    async def _be_there(self) -> None:
        self.wanted = True
        keeping = asyncio.create_task(self._keep_connected())
        try:
            await self._pause(STAYS)
            self.wanted = False
            await self._go(keeping)
        finally:
            self.wanted = False
            keeping.cancel()

    async def _go(self, keeping: asyncio.Task[None]) -> None:
        socket, span = self._socket, self.span
        ending = self._chance.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        if span is not None:
            span.end(ending)
        self._socket = self.span = None
        keeping.cancel()
        if socket is None or span is None:
            return
        if ending is Ending.SILENT:
            task = asyncio.create_task(_stay_silent(socket))
            self._left_open.add(task)
            task.add_done_callback(self._left_open.discard)
            return
        try:
            if ending is Ending.LEAVE:
                await socket.send(LEAVE_FRAME)
            if ending in {Ending.LEAVE, Ending.CLOSE}:
                async with asyncio.timeout(1):
                    await socket.close()
            if ending is Ending.VANISH:
                port = socket.transport.get_extra_info("sockname")[1]
                self._lines[span.web].abandon(port)
        except (ConnectionClosed, TimeoutError, OSError):
            pass
        finally:
            socket.transport.abort()

    # Being connected

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            come_back_at: float | None = None
            try:
                come_back_at = await self._connect_once()
                failures = 0
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else WITHOUT_CODE
                reason = closed.rcvd.reason if closed.rcvd else ""
                self.trouble = f"{code} {reason}"
                if code != WITHOUT_CODE and code not in RETRY:
                    self.unexpected.append(f"{self.name}: closed with {self.trouble}")
            except (OSError, InvalidHandshake, InvalidMessage, TimeoutError) as error:
                self.trouble = f"{type(error).__name__} {error}"
            if come_back_at is not None:
                await asyncio.sleep(max(0.0, come_back_at - time.monotonic()))
                continue
            failures = min(failures + 1, 8)
            bound = min(MAX_BACKOFF, LEAST_BACKOFF * 2**failures)
            await asyncio.sleep(self._chance.uniform(0, bound))

    async def _connect_once(self) -> float | None:
        """Open a socket and live on it. Returns when to come back where the server has
        said so."""
        web = self._web()
        url = f"ws://127.0.0.1:{self._lines[web].port}/ws"
        span = Span(self.user_id, self.name, web)
        socket: ClientConnection | None = None
        try:
            socket = await connect(
                url,
                additional_headers=self._headers,
                compression=None,
                ping_interval=None,
                open_timeout=OPEN_TIMEOUT,
                max_queue=None,
                proxy=None,
            )
            self._socket, self.span = socket, span
            return await self._live(socket, span)
        except BaseException as error:
            span.end(f"{type(error).__name__} {error}")
            raise
        finally:
            self._avoid = web
            if self.span is span:
                self._socket = self.span = None
                if socket is not None:
                    socket.transport.abort()

    def _web(self) -> int:
        """A gateway, as a load balancer gives one: not the one that just failed."""
        others = [web for web in range(len(self._lines)) if web != self._avoid]
        self._avoid = None
        return self._chance.choice(others)

    async def _live(self, socket: ClientConnection, span: Span) -> float | None:
        clock = asyncio.get_running_loop().time
        next_beat = clock() + OPEN_TIMEOUT
        unanswered = 0
        come_back_at: float | None = None
        while True:
            wake = next_beat if come_back_at is None else min(next_beat, come_back_at)
            try:
                async with asyncio.timeout_at(wake):
                    frame = json.loads(await socket.recv())
            except TimeoutError:
                if come_back_at is not None and clock() >= come_back_at:
                    span.end("comes back as told")
                    return come_back_at
                if unanswered == MAX_UNANSWERED or span.opened_at is None:
                    message = "the line is dead"
                    raise OSError(message) from None
                unanswered += 1
                await socket.send(HEARTBEAT_FRAME)
                next_beat += HEARTBEAT
                continue
            except ConnectionClosed:
                if come_back_at is None:
                    raise
                span.end("closed as told")
                return come_back_at
            event, data = frame["event"], frame["data"]
            if event == ServerEvent.WELCOME:
                span.connection_id = data["connection_id"]
                span.opened_at = time.time()
                next_beat = clock() + self._chance.uniform(0, HEARTBEAT)
                self._on_span(span)
            elif event == ServerEvent.HEARTBEAT_ACK:
                unanswered = 0
                span.answered_at = data["timestamp"] / 1000
            elif event == ServerEvent.GOING_AWAY:
                come_back_at = clock() + data["reconnect_in"]
            else:
                self._take(span, event, data)

    def _take(self, span: Span, event: str, data: dict[str, Any]) -> None:
        if event == ServerEvent.PRESENCE_SNAPSHOT:
            span.take_snapshot(data["statuses"])
        elif event == ServerEvent.FRIEND_STATUS_CHANGED:
            change = Transition(data["user_id"], data["status"], data["timestamp"])
            self._on_change(span, change, is_new=span.take_change(change))
        else:
            self.unexpected.append(f"{self.name}: {event} {data}")


async def _stay_silent(socket: ClientConnection) -> None:
    """Read on until the server has had enough."""
    try:
        async with asyncio.timeout(3 * TTL):
            async for _ in socket:
                pass
    except (TimeoutError, ConnectionClosed):
        pass
    finally:
        socket.transport.abort()
