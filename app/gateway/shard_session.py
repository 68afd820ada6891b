"""One gateway's session with one shard: the connections of the shard's users.

The gateway notes here what happens on its sockets. It never waits for Redis. Three
loops report the notes to the shard: `Connects`, `Heartbeats` and `Disconnects`. Each
shard has its own session and its own loops, so a shard that is down delays only its own
users.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gevent.event import Event

from app.gateway.client_connection import ClientConnection
from app.gateway.hub import Hub
from app.gateway.redis_clock import RedisClock
from app.revocations import REVOKED
from app.tokens import Tokens
from config import Settings
from models.events import CloseCode
from models.presence import Shard
from models.presence.rules import age_ms
from models.presence.store import ConnectReply, LiveConnection
from models.telemetry import causes, traces
from models.telemetry.changes import log_change
from tasks import broadcast

log = logging.getLogger(__name__)

FLUSHES = 3
"""After this many flush intervals without an answer, Redis counts as down."""


class RedisHealth:
    """Decides whether this gateway trusts a shard enough to expire its users.

    If Redis comes back with an older state, it does not know newer connections. It
    knows them again when the gateways have registered them. A gateway that expired
    users before that would announce online users as offline. Times are monotonic
    seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._within = FLUSHES * settings.flush_interval
        self._hold = settings.breaker_hold
        self._answered_at = time.monotonic()
        self._lost_at: float | None = None
        self.deadline = 0
        """This gateway's deadline in the shard's last answer (ms). 0 before the first
        answer."""

    def answered(self, deadline: int) -> None:
        """The shard has answered a heartbeat with this new `deadline` (ms)."""
        self._answered_at = time.monotonic()
        self.deadline = deadline

    def lost_state(self) -> None:
        """The shard had lost this gateway, and perhaps other gateways."""
        self._lost_at = time.monotonic()

    def is_trusted(self) -> bool:
        """Whether users may be expired: heartbeats are answered, and the other gateways
        have had time to register since the last loss."""
        now = time.monotonic()
        if now - self._answered_at > self._within:
            return False
        return self._lost_at is None or now - self._lost_at > self._hold


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The end of a connection, at the monotonic time `at`. `grace` is in seconds."""

    user_id: str
    connection_id: str
    at: float
    grace: float
    cause: str = ""


class ShardSession:
    """One gateway's session with one shard. Only its loops use Redis."""

    def __init__(
        self,
        gateway_id: str,
        settings: Settings,
        shard: Shard,
        hub: Hub,
        request_snapshots: Callable[[list[ClientConnection]], None],
        tokens: Tokens,
    ) -> None:
        self.gateway_id = gateway_id
        self.settings = settings
        self.shard = shard
        self.hub = hub
        self.counts = hub.counts
        self.health = RedisHealth(settings)
        self.clock = RedisClock()
        self.live: dict[str, ClientConnection] = {}
        """All connections of the shard's users, by id."""
        self.pending_heartbeats: dict[str, ClientConnection] = {}
        """The connections whose heartbeat the next flush reports."""
        self.changed_activity: dict[str, ClientConnection] = {}
        """The connections whose activity must be reported."""
        self.has_changed_activity = Event()
        self.opening: deque[ClientConnection] = deque()
        self.has_opening = Event()
        self.disconnected: deque[Disconnect] = deque()
        self.has_disconnected = Event()
        self._drain_requested = Event()
        self._request_snapshots = request_snapshots
        self._revocations = tokens.revocations
        self.read_token = tokens.read
        """Reads a new token of a client."""

    # What happens on the sockets. None of these methods waits

    def connect(self, connection: ClientConnection) -> None:
        """`connection` has passed its handshake. Queue it: `Connects` registers it, and
        then opens it."""
        # First the hub, then Redis, then the snapshot: in this order the client misses
        # no change.
        self.hub.add(connection)
        self.live[connection.connection_id] = connection
        # Only after the hub: see `app.revocations`.
        if self._revocations.refuses(connection.user_id, connection.issued_at):
            connection.close(CloseCode.NOT_AUTHENTICATED, REVOKED)
            return
        self.opening.append(connection)
        self.has_opening.set()

    def heartbeat(self, connection: ClientConnection) -> None:
        """A heartbeat arrived. The next flush reports it."""
        self.counts.heartbeats += 1
        self.pending_heartbeats[connection.connection_id] = connection

    def activity(self, connection: ClientConnection) -> None:
        """The client has said whether its person is there."""
        self.changed_activity[connection.connection_id] = connection
        self.has_changed_activity.set()

    def request_snapshot(self, connection: ClientConnection) -> None:
        """The client of `connection` needs a fresh snapshot."""
        self._request_snapshots([connection])

    def disconnect(self, connection: ClientConnection) -> None:
        """`connection` has ended or is being closed. Repeated calls do nothing."""
        if not self.hub.remove(connection):
            return
        # Its heartbeat must not be reported any more.
        self.live.pop(connection.connection_id, None)
        self.pending_heartbeats.pop(connection.connection_id, None)
        self.changed_activity.pop(connection.connection_id, None)
        self._add_disconnect(connection)

    def _add_disconnect(self, connection: ClientConnection) -> None:
        grace = 0.0 if connection.has_left else self.settings.disconnect_grace
        self.disconnected.append(
            Disconnect(
                connection.user_id,
                connection.connection_id,
                time.monotonic(),
                grace,
                connection.cause,
            )
        )
        self.has_disconnected.set()

    # What the loops share

    def register(self, connections: Sequence[ClientConnection]) -> None:
        """Register `connections` in the shard: new ones, or ones that Redis has lost.
        Close a connection if its user has too many, or if the user's state in Redis is
        damaged.

        Raises:
            PresenceUnavailable: Redis did not answer. Some connections may be
                registered.
        """
        live = self.as_live(connections)
        try:
            reply = self._connect(live)
        finally:
            # A connection may have ended during the call. Then it may have been
            # released before it was registered. So release it once more.
            for connection in connections:
                if self.hub.get(connection.connection_id) is None:
                    self._add_disconnect(connection)
        if reply.needs_drain:
            self.request_drain()
        for connection, registered in zip(connections, live, strict=True):
            # A later change does not belong to the trace of the handshake.
            connection.cause = causes.request_id_in(connection.cause)
            # Its report may have come first, when Redis did not know the connection.
            if connection.is_idle != registered.is_idle and self.hub.get(
                connection.connection_id
            ):
                self.activity(connection)
            if connection.connection_id in reply.refused:
                reason = "too many connections of this user"
                connection.close(CloseCode.TOO_MANY, reason)
            elif connection.connection_id in reply.failed:
                connection.close(CloseCode.TRY_AGAIN_LATER, "presence_unavailable")

    def _connect(self, live: list[LiveConnection]) -> ConnectReply:
        traced = [(one.cause, one.connection_id) for one in live]
        with traces.spans("connect", traced, gateway=self.gateway_id) as changed:
            if changed:
                live = [
                    replace(one, cause=cause)
                    for one, cause in zip(live, changed, strict=True)
                ]
            reply = self.shard.store.connect(self.gateway_id, live)
        if log.isEnabledFor(logging.DEBUG):
            for change in reply.transitions:
                log_change(
                    log,
                    "a user came online",
                    change.id,
                    change.cause,
                    gateway=self.gateway_id,
                )
        return reply

    def as_live(self, connections: Sequence[ClientConnection]) -> list[LiveConnection]:
        """`connections` as the store takes them: each with the age of its last
        heartbeat."""
        now, ttl = time.monotonic(), self.settings.online_ttl
        return [
            LiveConnection(
                connection.user_id,
                connection.connection_id,
                age_ms(connection.last_heartbeat, now, ttl),
                connection.is_idle,
                connection.cause,
            )
            for connection in connections
        ]

    def put_back(
        self,
        noted: dict[str, ClientConnection],
        taken: Mapping[str, ClientConnection],
    ) -> None:
        """`taken` could not be reported. Note those of them that are still connected
        again."""
        for connection_id, connection in taken.items():
            if self.hub.get(connection_id) is not None:
                noted.setdefault(connection_id, connection)

    def request_drain(self) -> None:
        """Request a drain of the shard's outbox. Never waits."""
        self._drain_requested.set()

    def drain_request_step(self) -> None:
        """Wait for a request, and send it to Celery. A separate loop does this, so that
        a slow broker delays no connection."""
        self._drain_requested.wait()
        self._drain_requested.clear()
        broadcast.request_drain(self.shard.number)
