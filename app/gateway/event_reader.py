"""Reads this gateway's event stream and hands what it says to the sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from app.gateway.context import Context
from app.gateway.snapshots import Snapshots
from models.events import EVERYBODY, CloseCode, GatewayMessage, UnreadableMessage
from models.presence.gateway_streams import STREAM_TTL_MS
from models.presence.redis.client import BLOCKING_READ_MS
from models.presence.rules import has_lost_messages

log = logging.getLogger(__name__)


class Listener:
    """The reader of one gateway's stream. Reads on from the last id that it has read,
    so a lost connection to Redis loses nothing that the stream still holds."""

    def __init__(
        self, context: Context, snapshots: Snapshots, resend_all: Callable[[], None]
    ) -> None:
        self._context = context
        self._hub = context.hub
        self._snapshots = snapshots
        self._resend_all = resend_all
        self._last_id = "0-0"
        self._read = 0
        self._heard_at = time.monotonic()

    def step(self) -> None:
        """Wait for messages and deliver them.

        Raises:
            PresenceUnavailable: Redis is away; reading goes on where it was.
        """
        inbox = self._context.presence.gateway_streams.read(
            self._context.gateway_id, self._last_id, BLOCKING_READ_MS
        )
        self._compare(inbox.gone)
        if inbox.messages:
            self._heard_at = time.monotonic()
        for number, (entry_id, message) in enumerate(inbox.messages):
            if number:  # each may be long: others have a turn between two of them
                gevent.sleep(0)
            self._last_id = entry_id
            self._read += 1
            if isinstance(message, UnreadableMessage):
                log.warning(
                    "message %s cannot be read, all get a fresh snapshot instead: %s",
                    entry_id,
                    message,
                )
                self._resend_all()
            else:
                self._take(message)

    def begin_anew(self, now: int) -> None:
        """The server of the stream has lost its state, and it is `now` there (ms). Its
        clock may have stepped back: the ids to come may be less than the last one."""
        if _milliseconds(self._last_id) >= now:
            self._last_id = f"{now - 1}-0"

    def _compare(self, gone: int) -> None:
        """Notice messages that left the stream without having been read here."""
        silent_ms = (time.monotonic() - self._heard_at) * 1000
        if has_lost_messages(self._read, gone, silent_ms, STREAM_TTL_MS):
            log.warning(
                "the stream of gateway %s was deleted or cut: all get a fresh snapshot",
                self._context.gateway_id,
            )
            self._resend_all()
        self._read = gone

    def _take(self, message: GatewayMessage) -> None:
        self._hub.deliver_news(message.transitions)
        self._hub.introduce(message.introductions)
        if EVERYBODY in message.snapshots:
            self._resend_all()
        for user_id in message.snapshots:
            self._snapshots.owe(self._hub.of_user(user_id))
        for user_id in message.disconnects:
            for connection in self._hub.of_user(user_id):
                connection.has_left = True
                connection.close(CloseCode.FORBIDDEN, "disconnected by the application")


def _milliseconds(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
