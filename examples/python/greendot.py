"""A Greendot client for Python programs: bots, tests, services that ask who is online.

    with Presence("https://presence.example.com", token) as presence:
        print(presence.is_online("grace"))
        for change in presence.changes():
            print(change.user_id, "is", "online" if change.online else "offline")

`AsyncPresence` is the same for asyncio. Both beat, answer `going_away`, reconnect with
full jitter, obey close codes, and call nobody online while the server is not heard: as
the browser client in app/static/greendot does. Needs `pip install websockets`.
"""
# ruff: noqa: INP001 - a file to copy, not a package

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import queue
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

NOT_AUTHENTICATED = 4401
FINAL_CODES = frozenset({NOT_AUTHENTICATED, 4403})
"""Close codes after which a client does not come back by itself, but for a token that
has expired and can be fetched anew."""
SILENT = 4000
NOT_HEARD = 1006
BEAT_SHARE = 0.75
"""Of the heartbeat interval; the rest is for the answer."""
SHARE_OF_OUTAGE, LEAST_BOUND, MOST_BOUND = 0.1, 1.0, 30.0
LEAST_WAITS = dict.fromkeys((4429, 1013, 1011), 2.5)
LEAST_WAITS |= dict.fromkeys((4400, 1009, 1007, 1002), 30.0)
"""Seconds, by close code: more room than for a server that merely restarted."""
PATIENCE = 10.0

log = logging.getLogger("greendot")

Result = TypeVar("Result")
Token = str | Callable[[], str | Awaitable[str]]


class Denied(Exception):
    """The server does not let this user in: sign in again (4401), or never (4403)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server closed with {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody came or went. `timestamp` is milliseconds since the epoch."""

    user_id: str
    online: bool
    timestamp: int


class AsyncPresence:
    """Who is online, for asyncio. Use it with `async with`.

    `token` is the user's JWT, or a function (async or not) that gives a fresh one
    whenever one is needed: at first, and when the last has expired.

    Raises:
        ValueError: `url` is none.
    """

    def __init__(self, url: str, token: Token) -> None:
        self._url = _socket_url(url)
        self._token = token
        self._statuses: dict[str, bool] = {}
        self._timestamps: dict[str, int] = {}
        self.last_seen: dict[str, int] = {}
        """User id -> milliseconds since the epoch, but for who was never seen. Exact as
        of the last snapshot; an event since then says when somebody came or was counted
        as gone."""
        self.stale = True
        """The server is not heard: nothing known here is known to hold."""
        self.denied: Denied | None = None
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._live = asyncio.Event()
        self._listeners: list[Callable[[Change | None], None]] = []
        self._has_picture = False
        self._return_at: float | None = None

    def is_online(self, user_id: str) -> bool:
        """Whether the user is online; never true while stale."""
        return not self.stale and self._statuses.get(user_id, False)

    @property
    def online(self) -> set[str]:
        """Everybody relevant who is online."""
        return {user_id for user_id in self._statuses if self.is_online(user_id)}

    async def ready(self) -> None:
        """Wait until the whole picture is here.

        Raises:
            Denied: the server does not let this user in.
        """
        await self._live.wait()
        self.raise_end()

    def raise_end(self) -> None:
        """Raise what has ended this client, if something has: `Denied`, or what it did
        not expect."""
        end = self.denied or self._failure
        if end is not None:
            raise end

    def listen(self, listener: Callable[[Change | None], None]) -> Callable[[], None]:
        """Call `listener` with every change, and with None at the end; returns what
        stops it. It runs in the event loop and must not wait."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changes(self) -> AsyncIterator[Change]:
        """Every change from now on, until this client is closed.

        Raises:
            Denied: the server does not let this user in any more.
        """
        news: asyncio.Queue[Change | None] = asyncio.Queue()
        return self._changes(news, self.listen(news.put_nowait))

    async def _changes(
        self, news: asyncio.Queue[Change | None], stop: Callable[[], None]
    ) -> AsyncIterator[Change]:
        try:
            while (change := await news.get()) is not None:
                yield change
        finally:
            stop()
        self.raise_end()

    async def leave(self) -> None:
        """Go offline at once, without grace, and close."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(_frame("leave"))
                await asyncio.wait_for(self._socket.wait_closed(), PATIENCE)
        await self.close()

    async def close(self) -> None:
        """Close; the server's grace applies."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.stale = True
        self._tell(None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay())
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def _tell(self, change: Change | None) -> None:
        for listener in list(self._listeners):
            listener(change)

    async def _stay(self) -> None:
        try:
            await self._run()
        except Exception as error:  # nobody would ever hear of it
            log.exception("the client has ended")
            self._failure = error
            self._live.set()
            self._tell(None)

    async def _run(self) -> None:
        lost_at = time.monotonic()
        while True:
            self._return_at = None
            code, line = await self._connect()
            self.stale = True
            # A token that had been let in has expired. One that is refused at once was
            # as fresh as it gets.
            renew = (
                code == NOT_AUTHENTICATED
                and line is not None
                and line.welcomed
                and callable(self._token)
            )
            if code in FINAL_CODES and not renew:
                self.denied = Denied(code)
                self._live.set()
                self._tell(None)
                return
            now = time.monotonic()
            lost_at = now if line is not None and line.proved else lost_at
            wait = 0.0 if renew else retry_delay(now - lost_at, code, random.random)
            if self._return_at is not None:
                wait = max(0.0, self._return_at - now)
            await asyncio.sleep(wait)

    async def _connect(self) -> tuple[int, _Line | None]:
        """One connection: its close code, and what was seen of it, if it was opened."""
        try:
            headers = {"Authorization": f"Bearer {await self._reveal()}"}
        except Exception:  # the program's own function may raise anything
            log.warning("no token this time", exc_info=True)
            return NOT_HEARD, None
        try:
            socket = await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,  # Greendot's heartbeats do that
                open_timeout=PATIENCE,
                close_timeout=1,
            )
        except InvalidStatus as error:
            final = {401: NOT_AUTHENTICATED, 403: 4403}
            return final.get(error.response.status_code, NOT_HEARD), None
        except (OSError, InvalidHandshake, TimeoutError) as error:
            log.warning("not reached, trying again: %s", error or "no answer")
            return NOT_HEARD, None
        self._socket = socket
        self._has_picture = False
        line = _Line(socket)
        try:
            return await line.serve(self._hear, self._fall_quiet), line
        finally:
            self._socket = None
            await socket.close()

    async def _reveal(self) -> str:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            async with asyncio.timeout(PATIENCE):
                token = await token
        return token.strip()  # as files end with a line's end

    def _fall_quiet(self) -> None:
        self.stale = True

    def _hear(self, event: str, data: dict[str, Any]) -> None:
        if event == "presence_snapshot":
            self._replace(data["statuses"])
        elif event == "friend_status_changed":
            user_id, timestamp = data["user_id"], data["timestamp"]
            if timestamp > self._timestamps.get(user_id, -1):
                online = data["status"] == "online"
                seen = max(timestamp, self.last_seen.get(user_id, 0))
                self._put(user_id, online=online, timestamp=timestamp, seen=seen)
        elif event == "going_away":
            self._return_at = time.monotonic() + data["reconnect_in"]
        self.stale = not self._has_picture  # heard again

    def _replace(self, statuses: dict[str, dict[str, Any]]) -> None:
        for user_id in self._statuses.keys() - statuses.keys():
            for known in (self._statuses, self._timestamps, self.last_seen):
                known.pop(user_id, None)
        for user_id, entry in statuses.items():
            self._put(
                user_id,
                online=entry["status"] == "online",
                timestamp=entry["timestamp"] or 0,
                seen=entry["last_seen"] or 0,
            )
        self._has_picture = True
        self._live.set()

    def _put(self, user_id: str, *, online: bool, timestamp: int, seen: int) -> None:
        before = self._statuses.get(user_id)
        self._statuses[user_id] = online
        self._timestamps[user_id] = timestamp
        if seen > 0:  # 0 is the status of somebody who was never seen
            self.last_seen[user_id] = seen
        else:
            self.last_seen.pop(user_id, None)
        if online != (before or False):
            self._tell(Change(user_id, online, timestamp))


class _Line:
    """One socket: heartbeats, and what silence means."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.welcomed = False
        self.proved = False
        """A heartbeat was answered: the next outage is a new one."""

    async def serve(
        self, hear: Callable[[str, dict[str, Any]], None], quiet: Callable[[], None]
    ) -> int:
        """Serve the socket until it ends; its close code."""
        interval = PATIENCE  # until the welcome says
        heard = time.monotonic()
        beat_at, answer_by = float("inf"), heard + PATIENCE
        while True:
            now = time.monotonic()
            if now >= answer_by:
                return SILENT
            if now >= heard + interval:
                quiet()
            if now >= beat_at:
                beat_at = now + interval * BEAT_SHARE
                answer_by = min(answer_by, now + min(PATIENCE, 1.5 * interval))
                with suppress(ConnectionClosed):
                    await self._socket.send(_frame("heartbeat"))
            soon = min(beat_at, answer_by, max(heard + interval, now + 0.05))
            try:
                text = await asyncio.wait_for(self._socket.recv(), soon - now)
            except TimeoutError:
                continue
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else NOT_HEARD
            frame = json.loads(text)
            heard = time.monotonic()
            if frame["event"] == "welcome":
                self.welcomed = True
                interval = frame["data"]["heartbeat_interval"]
                beat_at, answer_by = heard + interval * BEAT_SHARE, float("inf")
            elif frame["event"] == "heartbeat_ack":
                self.proved, answer_by = True, float("inf")
            hear(frame["event"], frame["data"])


class Presence:
    """`AsyncPresence` for programs without asyncio: it runs in a thread of its own."""

    def __init__(self, url: str, token: Token) -> None:
        self._presence = AsyncPresence(url, token)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._presence.__aenter__())
        try:
            self._call(self._presence.ready())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._call(self._presence.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def is_online(self, user_id: str) -> bool:
        """Whether the user is online; never true while the server is not heard."""
        return self._presence.is_online(user_id)

    @property
    def online(self) -> set[str]:
        """Everybody relevant who is online."""
        return self._presence.online

    @property
    def stale(self) -> bool:
        """The server is not heard: nothing known here is known to hold."""
        return self._presence.stale

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Every change from now on; ends after `timeout` seconds without one.

        Raises:
            Denied: the server does not let this user in any more.
        """
        news: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        return self._changes(news, timeout, self._presence.listen(news.put))

    def _changes(
        self,
        news: queue.SimpleQueue[Change | None],
        timeout: float | None,
        stop: Callable[[], None],
    ) -> Iterator[Change]:
        try:
            with suppress(queue.Empty):
                while (change := news.get(timeout=timeout)) is not None:
                    yield change
        finally:
            stop()
        self._presence.raise_end()

    def leave(self) -> None:
        """Go offline at once, without grace."""
        self._call(self._presence.leave())

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def retry_delay(outage: float, code: int, chance: Callable[[], float]) -> float:
    """Seconds to wait: full jitter below a tenth of the outage, within bounds, on top
    of what the close code asks for."""
    least = LEAST_WAITS.get(code, 0.0)
    bound = min(MOST_BOUND, max(LEAST_BOUND, least, outage * SHARE_OF_OUTAGE))
    return least + chance() * bound


def _socket_url(url: str) -> str:
    found = re.fullmatch(r"(?:http|ws)(s?)://([^/].*?)(?:/ws)?/*", url)
    if found is None:
        message = f"{url!r} does not begin with http://, https://, ws:// or wss://"
        raise ValueError(message)
    return f"ws{found[1]}://{found[2]}/ws"


def _frame(event: str) -> str:
    return json.dumps({"event": event, "data": {}})
