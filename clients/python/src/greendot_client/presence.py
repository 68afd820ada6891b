"""The presence of one user's friends, for bots, tests and services.

    with Presence("https://presence.example.com", token) as presence:
        print(presence.is_online("grace"))
        for change in presence.changes():
            print(change.user_id, "is", "online" if change.online else "offline")

`AsyncPresence` is the same for asyncio. Both send heartbeats, reconnect with full
jitter, and follow `going_away` and the close codes. While they do not hear the server,
they report nobody as online. They behave as the browser client does.

With `detail=True` the client also learns how a user is online, see `Detail`. Then a
change of detail is a `Change` too.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import queue
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Self, TypeVar, Unpack

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from greendot_client.errors import Denied
from greendot_client.records import (
    Change,
    Changes,
    Detail,
    Settings,
    record,
)
from greendot_client.records import detail as _detail
from greendot_client.rest import Rest, http_url

NOT_AUTHENTICATED = 4401
FINAL_CODES = frozenset({NOT_AUTHENTICATED, 4403})
"""After these close codes the client stops. There is one exception: if the token has
expired, and a function can give a fresh one, the client goes on."""
HEARTBEAT_TIMEOUT = 4000
"""The client's own code: the server did not answer a heartbeat."""
ABNORMAL = 1006
"""There was no connection, or it ended without a close frame."""
HEARTBEAT_FRACTION = 0.75
"""Heartbeats are sent after this part of the interval. The rest is for the answer."""
OUTAGE_FRACTION, MIN_BOUND, MAX_BOUND = 0.1, 1.0, 30.0
TRY_AGAIN_LATER = 1013
MIN_RETRY_DELAYS = dict.fromkeys((4429, TRY_AGAIN_LATER, 1011), 2.5)
MIN_RETRY_DELAYS |= dict.fromkeys((4400, 1009, 1007, 1002), 30.0)
"""Minimum wait in seconds, by close code. After a restart no minimum is needed."""
MAX_TOKEN_DELAY = 4.0
"""The longest minimum wait while the token function fails. Perhaps only the network is
down, and then the client must be back soon after it."""
IDLE_INTERVAL = 60.0
"""Seconds between two reports of one connection that the person is idle."""
MAX_REFRESH_LENGTH = 4000
"""A server closes the socket after a message of more than 4096 bytes (by default)."""
TIMEOUT = 10.0
"""Seconds to wait for a token, a handshake, the welcome or an answer."""

log = logging.getLogger("greendot_client")

Result = TypeVar("Result")
Token = str | Callable[[], str | Awaitable[str | None] | None]


class AsyncPresence:
    """The presence of a user's friends, for asyncio. Use it with `async with`.

    `token` is the user's JWT, or a function (async or not) that gives a fresh one. The
    function is called before each attempt to connect, and a minute before the token
    expires: with a new token the connection goes on. If it returns None or "", nobody
    is signed in: the client stops with `Denied`. If it raises an error, the client
    tries again. With `detail` the client also learns how the users are online, and
    reports changes of that.

    Raises:
        ValueError: `url` is not an http, https, ws or wss URL.
    """

    def __init__(self, url: str, token: Token, *, detail: bool = False) -> None:
        self._url = "ws" + http_url(url).removeprefix("http") + "/ws"
        if detail:
            self._url += "?detail=1"
        self._rest = Rest(url, timeout=TIMEOUT)
        self._token = token
        self._wants_detail = detail
        self._statuses: dict[str, bool] = {}
        self._timestamps: dict[str, int] = {}
        self.last_seen: dict[str, int] = {}
        """User id -> milliseconds since the epoch, without users who were never seen.
        It is exact as of the last snapshot. A later event sets it to the time at which
        the user came online or was counted as offline."""
        self.details: dict[str, Detail | None] = {}
        """User id -> detail, None for users who are offline. It is empty without
        `detail=True`. While stale it is out of date, as the statuses are."""
        self.idle_after: float | None = None
        """After this many seconds without input, call `set_idle(True)`. The server says
        it to clients with `detail=True`. None before that."""
        self.settings: Settings | None = None
        """The user's own settings, None until they are read or changed. From then on
        they are kept current, whichever device changes them."""
        self._settings_events = 0
        self._idle = False
        self._idle_changed = asyncio.Event()
        self.stale = True
        """The client does not hear the server, so its statuses may be out of date."""
        self.denied: Denied | None = None
        self._signed_out: Denied | None = None
        """The token function has said that nobody is signed in."""
        self._token_failures = 0
        """How often in a row the token function failed before a connection."""
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        """What runs beside the present connection, and ends with it."""
        self._failure: Exception | None = None
        self._settled = asyncio.Event()
        self._listeners: list[Callable[[Change | None], None]] = []
        self._has_snapshot = False
        self._reconnect_at: float | None = None

    def is_online(self, user_id: str) -> bool:
        """Whether the user is online; never true while stale."""
        return not self.stale and self._statuses.get(user_id, False)

    def detail_of(self, user_id: str) -> Detail | None:
        """How the user is online. None if the user is offline, and while stale."""
        return None if self.stale else self.details.get(user_id)

    @property
    def online(self) -> set[str]:
        """The ids of all relevant users who are online."""
        return {user_id for user_id in self._statuses if self.is_online(user_id)}

    async def ready(self) -> None:
        """Wait for the first snapshot.

        Raises:
            Denied: the server has denied access.
        """
        await self._settled.wait()
        self.raise_end()

    def raise_end(self) -> None:
        """Raise the error that has stopped this client, if there is one.

        Raises:
            Denied: the server has denied access.
            Exception: an unexpected error, unchanged.
        """
        error = self.denied or self._failure
        if error is not None:
            raise error

    def set_idle(self, idle: bool) -> None:  # noqa: FBT001 - it sets just this
        """Tell the server whether the person is idle. It is sent to each new connection
        again. A return is sent at once, and idleness once a minute at most. Call it in
        the event loop; it does not wait."""
        self._idle = idle
        self._idle_changed.set()

    async def read_settings(self) -> Settings:
        """Read the user's own settings.

        Raises:
            ApiError: the server refused the call.
            Denied: the token function gave no token.
            OSError: the server did not answer.
        """
        return await self._call_settings("GET")

    async def change_settings(self, **changes: Unpack[Changes]) -> Settings:
        """Change some of the user's own settings. Returns all of them.

        Raises:
            ApiError: the server refused the change: 400 for a wrong value, 403 if users
                of this server may not hide, and 503 if it cannot store it now.
            Denied: the token function gave no token.
            OSError: the server did not answer.
        """
        return await self._call_settings("PATCH", changes)

    async def _call_settings(
        self, method: str, changes: Changes | None = None
    ) -> Settings:
        token = await self._current_token()
        events_before = self._settings_events
        data = await asyncio.to_thread(
            self._rest.call, method, "/api/me/presence", token, changes
        )
        settings = record(Settings, data)
        # An event that came meanwhile may be newer. If it is older, one more will come.
        if self._settings_events == events_before:
            self.settings = settings
        return settings

    def listen(self, listener: Callable[[Change | None], None]) -> Callable[[], None]:
        """Call `listener` with every change, and with None at the end. It runs in the
        event loop and must not block. Returns a function that removes the listener."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changes(self) -> AsyncIterator[Change]:
        """Yield every change from now on, until this client is closed.

        Raises:
            Denied: the server has denied access.
        """
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        return self._changes(changes, self.listen(changes.put_nowait))

    async def _changes(
        self, changes: asyncio.Queue[Change | None], stop: Callable[[], None]
    ) -> AsyncIterator[Change]:
        try:
            while (change := await changes.get()) is not None:
                yield change
        finally:
            stop()
        self.raise_end()

    async def leave(self) -> None:
        """Go offline immediately, without the server's grace, and close."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(_frame("leave"))
                await asyncio.wait_for(self._socket.wait_closed(), TIMEOUT)
        await self.close()

    async def close(self) -> None:
        """Close. The server's grace applies."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._rest.close()
        self.stale = True
        self._notify(None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run_until_stopped())
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def _notify(self, change: Change | None) -> None:
        for listener in list(self._listeners):
            listener(change)

    async def _run_until_stopped(self) -> None:
        try:
            await self._run()
        except Exception as error:  # the task has no other way to report it
            log.exception("the client has stopped because of an unexpected error")
            self._failure = error
            self._settled.set()
            self._notify(None)

    async def _run(self) -> None:
        outage_started_at = time.monotonic()
        while True:
            self._reconnect_at = None
            code, connection = await self._connect()
            self.stale = True
            # After the welcome, 4401 means that the token has expired. Before it, the
            # token was fresh, so there is no better one.
            expired = (
                code == NOT_AUTHENTICATED
                and connection is not None
                and connection.welcomed
                and callable(self._token)
            )
            if self._signed_out or (code in FINAL_CODES and not expired):
                self.denied = self._signed_out or Denied(code)
                self._settled.set()
                self._notify(None)
                return
            now = time.monotonic()
            if connection is not None and connection.acknowledged:
                outage_started_at = now
            outage = now - outage_started_at
            if expired:
                continue
            if self._reconnect_at is not None and code not in MIN_RETRY_DELAYS:
                await asyncio.sleep(max(0.0, self._reconnect_at - now))
            else:
                delay = retry_delay(outage, code, random.random, self._token_failures)
                await asyncio.sleep(delay)

    async def _connect(self) -> tuple[int, _Connection | None]:
        """Run one connection. Returns its close code, and the connection or None."""
        try:
            headers = {"Authorization": f"Bearer {await self._current_token()}"}
        except Denied as denied:
            self._signed_out = denied
            return denied.code, None
        except Exception:  # the token function may raise anything
            log.warning("the token function failed, trying again", exc_info=True)
            self._token_failures += 1
            return ABNORMAL, None
        self._token_failures = 0
        try:
            socket = await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,  # the heartbeats replace pings
                open_timeout=TIMEOUT,
                close_timeout=1,
            )
        except InvalidStatus as error:
            final = {401: NOT_AUTHENTICATED, 403: 4403}
            return final.get(error.response.status_code, ABNORMAL), None
        except (OSError, InvalidHandshake, TimeoutError) as error:
            log.warning("cannot connect, trying again: %s", str(error) or "no answer")
            return ABNORMAL, None
        self._socket = socket
        self._has_snapshot = False
        connection = _Connection(socket)
        try:
            return await connection.serve(self._handle, self._mark_stale), connection
        finally:
            self._socket = None
            for task in self._tasks:
                task.cancel()
            self._tasks.clear()
            await socket.close()

    def _welcome(self, data: dict[str, Any]) -> None:
        self.idle_after = data.get("idle_after", self.idle_after)
        if self._socket is not None:
            report = self._report_activity(self._socket)
            self._tasks.append(asyncio.create_task(report))
        if self.settings is not None:  # events may have been missed
            self._tasks.append(asyncio.create_task(self._read_settings_again()))

    async def _read_settings_again(self) -> None:
        started_at = time.monotonic()
        while True:
            try:
                await self.read_settings()
            except Denied:
                return  # this connection stays until its token ends
            except Exception:  # the token function may raise anything
                log.warning("cannot read the settings, trying again", exc_info=True)
            else:
                return
            outage = time.monotonic() - started_at
            await asyncio.sleep(retry_delay(outage, TRY_AGAIN_LATER, random.random))

    async def _report_activity(self, socket: ClientConnection) -> None:
        """Keep the server informed on one connection. It begins as not idle."""
        sent, sent_at = False, float("-inf")
        with suppress(ConnectionClosed):
            while True:
                self._idle_changed.clear()
                idle, now = self._idle, time.monotonic()
                delay = activity_delay(now, idle=idle, sent=sent, sent_at=sent_at)
                if delay == 0:
                    await socket.send(_frame("activity", idle=idle))
                    sent, sent_at = idle, now if idle else sent_at
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._idle_changed.wait()

    async def _refresh_token(self) -> None:
        """Send a new token, so that the socket outlives the old one. If the function
        fails, the server closes the socket at the end of the old one, and the client
        reconnects."""
        socket = self._socket
        if socket is None or not callable(self._token):
            return
        try:
            token = await self._current_token()
        except Denied as denied:
            self._signed_out = denied
            await socket.close()
            return
        except Exception:  # the token function may raise anything
            log.warning("the token function failed", exc_info=True)
            return
        if len(token) <= MAX_REFRESH_LENGTH:
            with suppress(ConnectionClosed):
                await socket.send(_frame("refresh", token=token))

    async def _current_token(self) -> str:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            async with asyncio.timeout(TIMEOUT):
                token = await token
        token = (token or "").strip()  # a token from a file ends with a newline
        if not token:
            raise Denied(NOT_AUTHENTICATED, "there is no token: nobody is signed in")
        return token

    def _mark_stale(self) -> None:
        self.stale = True

    def _handle(self, event: str, data: dict[str, Any]) -> None:
        if event == "welcome":
            self._welcome(data)
        elif event == "presence_snapshot":
            self._apply_snapshot(data["statuses"])
        elif event == "friend_status_changed":
            user_id, timestamp = data["user_id"], data["timestamp"]
            if timestamp > self._timestamps.get(user_id, -1):
                online = data["status"] == "online"
                seen = max(timestamp, self.last_seen.get(user_id, 0))
                self._set_status(
                    user_id,
                    online=online,
                    timestamp=timestamp,
                    seen=seen,
                    detail=_detail(data.get("detail")),
                )
        elif event == "friend_detail_changed" and self._wants_detail:
            self._change_detail(data)
        elif event == "presence_settings_changed":
            self._settings_events += 1
            self.settings = record(Settings, data)
        elif event == "token_expiring":
            self._tasks.append(asyncio.create_task(self._refresh_token()))
        elif event == "going_away":
            self._reconnect_at = time.monotonic() + data["reconnect_in"]
        self.stale = not self._has_snapshot  # the server is heard again

    def _change_detail(self, data: dict[str, Any]) -> None:
        user_id, timestamp = data["user_id"], data["timestamp"]
        is_newer = timestamp > self._timestamps.get(user_id, -1)
        if is_newer and self._statuses.get(user_id):
            self._set_status(
                user_id,
                online=True,
                timestamp=timestamp,
                seen=self.last_seen.get(user_id, 0),
                detail=_detail(data["detail"]),
            )

    def _apply_snapshot(self, statuses: dict[str, dict[str, Any]]) -> None:
        for user_id in self._statuses.keys() - statuses.keys():
            del self._statuses[user_id], self._timestamps[user_id]
            self.last_seen.pop(user_id, None)
            self.details.pop(user_id, None)
        for user_id, entry in statuses.items():
            self._set_status(
                user_id,
                online=entry["status"] == "online",
                timestamp=entry["timestamp"] or 0,
                seen=entry["last_seen"] or 0,
                detail=_detail(entry.get("detail")),
            )
        self._has_snapshot = True
        self._settled.set()

    def _set_status(
        self,
        user_id: str,
        *,
        online: bool,
        timestamp: int,
        seen: int,
        detail: Detail | None,
    ) -> None:
        was_online = self._statuses.get(user_id, False)
        old_detail = self.details.get(user_id)
        self._statuses[user_id] = online
        self._timestamps[user_id] = timestamp
        if seen > 0:  # 0: the user was never seen
            self.last_seen[user_id] = seen
        else:
            self.last_seen.pop(user_id, None)
        if self._wants_detail:
            self.details[user_id] = detail
        if online != was_online:
            self._notify(Change(user_id, online, timestamp, detail))
        elif self._wants_detail and detail != old_detail:
            change = Change(user_id, online, timestamp, detail, detail_only=True)
            self._notify(change)


class _Connection:
    """One socket: it sends heartbeats and detects a silent server."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.welcomed = False
        self.acknowledged = False
        """The server has answered a heartbeat, so the next outage is a new one."""

    async def serve(
        self,
        on_event: Callable[[str, dict[str, Any]], None],
        on_silence: Callable[[], None],
    ) -> int:
        """Serve the socket until it ends. Returns its close code."""
        interval = TIMEOUT  # until the welcome gives the real one
        last_frame_at = time.monotonic()
        heartbeat_at, answer_by = float("inf"), last_frame_at + TIMEOUT
        while True:
            now = time.monotonic()
            if now >= answer_by:
                return HEARTBEAT_TIMEOUT
            if now >= last_frame_at + interval:
                on_silence()
            if now >= heartbeat_at:
                heartbeat_at = now + interval * HEARTBEAT_FRACTION
                answer_by = min(answer_by, now + min(TIMEOUT, 1.5 * interval))
                with suppress(ConnectionClosed):
                    await self._socket.send(_frame("heartbeat"))
            soon = min(
                heartbeat_at, answer_by, max(last_frame_at + interval, now + 0.05)
            )
            try:
                # wait_for() may lose a cancellation before Python 3.12.
                async with asyncio.timeout(soon - now):
                    text = await self._socket.recv()
            except TimeoutError:
                continue
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else ABNORMAL
            frame = json.loads(text)
            last_frame_at = time.monotonic()
            if frame["event"] == "welcome":
                self.welcomed = True
                interval = frame["data"]["heartbeat_interval"]
                heartbeat_at, answer_by = (
                    last_frame_at + interval * HEARTBEAT_FRACTION,
                    float("inf"),
                )
            elif frame["event"] == "heartbeat_ack":
                self.acknowledged, answer_by = True, float("inf")
            on_event(frame["event"], frame["data"])


class Presence:
    """`AsyncPresence` for programs without asyncio. It runs in its own thread."""

    def __init__(self, url: str, token: Token, *, detail: bool = False) -> None:
        self._presence = AsyncPresence(url, token, detail=detail)
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
        """Whether the user is online; never true while stale."""
        return self._presence.is_online(user_id)

    def detail_of(self, user_id: str) -> Detail | None:
        """How the user is online. None if the user is offline, and while stale."""
        return self._presence.detail_of(user_id)

    @property
    def details(self) -> dict[str, Detail | None]:
        """User id -> detail: a copy of `AsyncPresence.details`."""
        return dict(self._presence.details)

    @property
    def online(self) -> set[str]:
        """The ids of all relevant users who are online."""
        return self._presence.online

    @property
    def stale(self) -> bool:
        """The client does not hear the server, so its statuses may be out of date."""
        return self._presence.stale

    @property
    def settings(self) -> Settings | None:
        """The user's own settings, see `AsyncPresence.settings`."""
        return self._presence.settings

    def read_settings(self) -> Settings:
        """Read the user's own settings.

        Raises:
            ApiError: the server refused the call.
            Denied: the token function gave no token.
            OSError: the server did not answer.
        """
        return self._call(self._presence.read_settings())

    def change_settings(self, **changes: Unpack[Changes]) -> Settings:
        """Change some of the user's own settings. Returns all of them.

        Raises:
            ApiError: the server refused the change, see
                `AsyncPresence.change_settings`.
            Denied: the token function gave no token.
            OSError: the server did not answer.
        """
        return self._call(self._presence.change_settings(**changes))

    @property
    def idle_after(self) -> float | None:
        """After this many seconds without input, call `set_idle(True)`. The server says
        it to clients with `detail=True`."""
        return self._presence.idle_after

    def set_idle(self, idle: bool) -> None:  # noqa: FBT001 - it sets just this
        """Tell the server whether the person is idle, see `AsyncPresence.set_idle`."""
        self._loop.call_soon_threadsafe(self._presence.set_idle, idle)

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Yield every change from now on. If no change comes for `timeout` seconds,
        end.

        Raises:
            Denied: the server has denied access.
        """
        changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        return self._changes(changes, timeout, self._presence.listen(changes.put))

    def _changes(
        self,
        changes: queue.SimpleQueue[Change | None],
        timeout: float | None,
        stop: Callable[[], None],
    ) -> Iterator[Change]:
        try:
            with suppress(queue.Empty):
                while (change := changes.get(timeout=timeout)) is not None:
                    yield change
        finally:
            stop()
        self._presence.raise_end()

    def leave(self) -> None:
        """Go offline immediately, without the server's grace, and close."""
        self._call(self._presence.leave())

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def retry_delay(
    outage: float, code: int, rand: Callable[[], float], token_failures: int = 0
) -> float:
    """Seconds to wait before the next attempt: the minimum for the close code, plus
    full jitter. The jitter's bound is a tenth of the outage, from 1 s to 30 s. While
    the token function fails, the minimum doubles from 1 s to 4 s."""
    min_delay = MIN_RETRY_DELAYS.get(code, 0.0)
    if token_failures > 0:
        doubled = 2.0 ** min(token_failures - 1, 10)
        min_delay = max(min_delay, min(MAX_TOKEN_DELAY, doubled))
    bound = min(MAX_BOUND, max(MIN_BOUND, min_delay, outage * OUTAGE_FRACTION))
    return min_delay + rand() * bound


def activity_delay(
    now: float, *, idle: bool, sent: bool, sent_at: float
) -> float | None:
    """Seconds until the client says whether its person is `idle`; None if the server
    knows it. `sent` is what this connection said last, and `sent_at` when it last said
    that the person is idle."""
    if idle == sent:
        return None
    return max(0.0, sent_at + IDLE_INTERVAL - now) if idle else 0.0


def _frame(event: str, **data: object) -> str:
    return json.dumps({"event": event, "data": data})
