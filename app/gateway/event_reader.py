"""Reads this gateway's stream of events, and delivers them to the connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

import gevent

from app.gateway.hub import Hub
from app.gateway.snapshots import Snapshots
from models.events import EVERYBODY, CloseCode, GatewayMessage, UnreadableMessage
from models.presence import Presence
from models.presence.errors import CommandRefused
from models.presence.gateway_streams import STREAM_TTL_MS, StreamRead
from models.presence.redis.client import BLOCKING_READ_MS
from models.presence.rules import has_lost_messages
from models.telemetry import traces

log = logging.getLogger(__name__)

TRIM_EVERY = 0.2
"""Seconds between two deletions of messages that were read."""


class EventReader:
    """The loop that reads one gateway's stream. It continues after the last id that it
    has read. So after a lost connection to Redis it gets all messages that are still in
    the stream."""

    def __init__(
        self,
        gateway_id: str,
        presence: Presence,
        hub: Hub,
        snapshots: Snapshots,
        resend_all: Callable[[], None],
        revoke: Callable[[str, int], None],
    ) -> None:
        self._gateway_id = gateway_id
        self._presence = presence
        self._hub = hub
        self._snapshots = snapshots
        self._resend_all = resend_all
        self._revoke = revoke
        self._last_id = "0-0"
        self._read = 0
        self._heard_at = time.monotonic()
        self._trim_at = self._heard_at

    def step(self) -> None:
        """Wait for messages, and deliver them.

        Raises:
            PresenceUnavailable: Redis is down. The next step continues where this one
                stopped.
        """
        inbox = self._next()
        if inbox.messages:
            self._heard_at = time.monotonic()
        for number, (entry_id, message) in enumerate(inbox.messages):
            if number:  # yield between two messages: delivering one may take long
                gevent.sleep(0)
            self._last_id = entry_id
            self._read += 1
            if isinstance(message, UnreadableMessage):
                log.warning(
                    "message %s cannot be read, all clients get a fresh snapshot: %s",
                    entry_id,
                    message,
                )
                self._resend_all()
            else:
                self._deliver(message)

    def reset_after_loss(self, now: int) -> None:
        """The server of the stream has lost its state, and its time is `now` (ms). If
        its clock stepped back, the ids of new messages may be less than the last id
        read."""
        if _milliseconds(self._last_id) >= now:
            self._last_id = f"{now - 1}-0"

    def _next(self) -> StreamRead:
        """Read the next messages. Also delete the messages that were read before, but
        not more often than TRIM_EVERY allows."""
        started = time.monotonic()
        wait = self._trim_at - started
        if wait > 0:
            with suppress(CommandRefused):  # no longer a stream: the trim below repairs
                return self._presence.gateway_streams.read(
                    self._gateway_id, self._last_id, 1 + int(1000 * wait), trims=False
                )
        inbox = self._presence.gateway_streams.read(
            self._gateway_id, self._last_id, BLOCKING_READ_MS
        )
        assert inbox.gone is not None  # noqa: S101 - this read has trimmed
        self._check_for_loss(inbox.gone)
        self._trim_at = started + TRIM_EVERY
        return inbox

    def _check_for_loss(self, removed: int) -> None:
        """Notice messages that were removed from the stream before they were read here.
        `removed` counts all messages that were removed."""
        silent_ms = (time.monotonic() - self._heard_at) * 1000
        if has_lost_messages(self._read, removed, silent_ms, STREAM_TTL_MS):
            log.warning(
                "the stream of gateway %s was deleted or cut: "
                "all clients get a fresh snapshot",
                self._gateway_id,
            )
            self._resend_all()
        self._read = removed

    def _deliver(self, message: GatewayMessage) -> None:
        changes = (one.transition for one in message.transitions)
        traced = ((one.cause, one.id) for one in changes)
        with traces.spans("delivery", traced, gateway=self._gateway_id):
            self._hub.deliver_transitions(message.transitions)
        self._hub.introduce(message.introductions)
        for user_id, event in message.own:
            self._hub.send_to_user(user_id, event.encode())
        if EVERYBODY in message.snapshots:
            self._resend_all()
        for user_id in message.snapshots:
            self._snapshots.request(self._hub.of_user(user_id))
        for user_id, revoked_at in message.revocations:
            self._revoke(user_id, revoked_at)
        for user_id in message.disconnects:
            for connection in self._hub.of_user(user_id):
                connection.has_left = True
                connection.close(CloseCode.FORBIDDEN, "disconnected by the application")


def _milliseconds(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
