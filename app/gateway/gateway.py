"""The gateway of one web process: its parts, its loops and the life of a connection.

The way of the data, in the order of docs/ARCHITECTURE.md: A client's messages arrive in
its `ClientConnection`, which notes them in the `ShardSession` of its user. The loops
`Connects`, `Heartbeats`, `Activities` and `Disconnects` report them to Redis. The
results of a fan-out come back through the `EventReader` to the `Hub`, which writes them
to the sockets.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial

import gevent
from sqlalchemy import Engine

from app.gateway.activities import Activities
from app.gateway.client_connection import ClientConnection
from app.gateway.connects import Connects
from app.gateway.disconnects import Disconnects
from app.gateway.event_reader import EventReader
from app.gateway.heartbeats import Heartbeats
from app.gateway.hub import Hub
from app.gateway.metrics import Counts, GatewayMetrics
from app.gateway.redis_clock import RedisClock
from app.gateway.shard_session import ShardSession
from app.gateway.shutdown import send_all_away
from app.gateway.snapshots import Snapshots
from app.new_users import NewUsers
from app.outages import Outage
from app.revocations import POLL_EVERY, REVOKED
from app.server.answer_socket import TakenSocket
from app.server.capacity import Capacity
from app.tokens import Identity, Tokens
from config import Settings
from models.events import VERSION, CloseCode
from models.presence import Presence, PresenceUnavailable
from models.presence.gateway_settings import PUBLISH_EVERY, published
from models.presence.inspection import connection_id, new_number
from models.presence.rules import retry_delay

log = logging.getLogger(__name__)

Step = Callable[[], None]


def new_gateway_id() -> str:
    """A new gateway id, `name:incarnation`. A restarted process gets another id. The
    incarnation ends with the version of the messages that this gateway reads. So every
    sender knows that version."""
    name = os.environ.get("DYNO") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    return f"{name}.{os.getpid()}:{secrets.token_hex(4)}-v{VERSION}"


class Gateway:
    """One process's part in presence. Nothing connects before `start`."""

    def __init__(
        self,
        settings: Settings,
        presence: Presence,
        database: Engine,
        new_users: NewUsers,
        tokens: Tokens,
    ) -> None:
        self.id = new_gateway_id()
        self._settings = settings
        self._presence = presence
        self._revocations = tokens.revocations
        self._last_number = 0
        self._loops: list[gevent.Greenlet[..., None]] = []
        self._resend_is_due = False
        self.counts = Counts()
        self.hub = Hub(self.counts, self._clock_of)
        self.metrics = GatewayMetrics(
            self.hub,
            self.counts,
            Capacity.of(settings).sockets,
            settings.web_concurrency,
        )
        self.snapshots = Snapshots(
            presence,
            self.hub,
            self.counts,
            database,
            new_users,
        )
        self.event_reader = EventReader(
            self.id,
            presence,
            self.hub,
            self.snapshots,
            self._resend_snapshots,
            self.revoke,
        )
        self.sessions = [
            ShardSession(
                self.id,
                settings,
                shard,
                self.hub,
                self.snapshots.request,
                tokens,
            )
            for shard in presence.shards
        ]
        # Each shard's loops, in the order of `sessions`.
        self.connects = [Connects(one, self.snapshots) for one in self.sessions]
        self.heartbeats = [
            Heartbeats(
                one, self.snapshots, self._reset_after_loss, self._clock_set_back
            )
            for one in self.sessions
        ]
        self.activities = [Activities(one) for one in self.sessions]
        self.disconnects = [Disconnects(one) for one in self.sessions]

    # The life of the process

    def start(self) -> None:
        """Start the loops. Call it once, in the process that serves the sockets."""
        self._loops = [_spawn_loop(name, step) for name, step in self._steps().items()]
        gevent.spawn(self._warn_of_eviction)
        # From now on fan-outs reach this gateway.
        self._in_each_shard("starts", [one.flush for one in self.heartbeats])
        # Only now: a later revocation comes as a message.
        self._revocations.read_or_log()
        log.info("gateway %s is up", self.id)

    def _steps(self) -> dict[str, Step]:
        """What each loop does, by the loop's name."""
        steps: dict[str, Step] = {
            "event reader": self.event_reader.step,
            "large deliveries": self.hub.large_deliveries.step,
            "snapshots": self.snapshots.step,
            "metrics": self.metrics.step,
            "revocations": self._read_revocations,
            "settings": self._publish_settings,
        }
        for number, session in enumerate(self.sessions):
            of_shard = f" of shard {number}" if len(self.sessions) > 1 else ""
            steps["connects" + of_shard] = self.connects[number].step
            steps["heartbeats" + of_shard] = self.heartbeats[number].step
            steps["activities" + of_shard] = self.activities[number].step
            steps["disconnects" + of_shard] = self.disconnects[number].step
            steps["drain requests" + of_shard] = session.drain_request_step
        return steps

    def _publish_settings(self) -> None:
        """Publish the settings that `flask doctor` compares, and wait."""
        values = published(self._settings)
        self._presence.gateway_settings.publish(self.id, values)
        gevent.sleep(PUBLISH_EVERY)

    def _warn_of_eviction(self) -> None:
        """Log a warning if Redis may delete a part of the state."""
        try:
            policies = self._presence.servers.evicting_policies()
        except PresenceUnavailable as error:
            log.debug("the maxmemory-policy of Redis is unknown: %s", error)
            return
        if policies:
            log.warning(
                "Redis deletes keys when its memory is full (maxmemory-policy %s), "
                "including those that say who is online: set it to noeviction, see "
                "docs/OPERATIONS.md",
                ", ".join(sorted(policies)),
            )

    def shut_down(self) -> None:
        """Close all connections, spread over the drain window."""
        send_all_away(self.hub, self._settings.drain_window)

    def stop(self) -> None:
        """Release all connections in Redis, and remove this gateway. If Redis is down,
        a sweep does both after this gateway's deadline has passed."""
        gevent.killall(self._loops)
        for connection in self.hub.connections():
            connection.on_end()
        shards = range(len(self.sessions))
        self._in_each_shard("leaves", [partial(self._leave, one) for one in shards])
        self.metrics.write()
        log.info("gateway %s is gone", self.id)

    def _leave(self, shard: int) -> None:
        self.disconnects[shard].release()
        self.sessions[shard].shard.gateways.forget(self.id)

    def _in_each_shard(self, what: str, steps: list[Step]) -> None:
        """Run a step for each shard, all at the same time, because a shard that is down
        takes long."""

        def attempt(step: Step) -> None:
            try:
                step()
            except PresenceUnavailable as error:
                log.warning(
                    "gateway %s %s while Redis is down: %s", self.id, what, error
                )

        attempts = [gevent.spawn(attempt, step) for step in steps]
        gevent.joinall(attempts, raise_error=True)

    # The life of a connection

    def new_connection(
        self,
        taken: TakenSocket,
        identity: Identity,
        *,
        wants_detail: bool = False,
        cause: str = "",
    ) -> ClientConnection:
        """A connection of the user `identity` on the socket `taken`, for `serve`. The
        connection's id begins with the gateway's id, so that the connections of a dead
        gateway can be found. `cause` has the form of `models.telemetry.causes`."""
        now = int(time.time() * 1000)
        self._last_number = new_number(self._last_number, now)
        connection = ClientConnection(
            taken,
            self._session_of(identity.user_id),
            connection_id=connection_id(self.id, self._last_number),
            identity=identity,
            cause=cause,
        )
        connection.wants_detail = wants_detail
        return connection

    def serve(self, connection: ClientConnection) -> None:
        """Serve a client from the end of its handshake to the end of its socket.
        Returns at once: the event loop does the rest."""
        try:
            self._session_of(connection.user_id).connect(connection)
        except Exception:
            log.exception("%s failed", connection)
            connection.close(CloseCode.INTERNAL_ERROR, "internal error")
        connection.start()

    def _clock_of(self, user_id: str) -> RedisClock:
        return self._session_of(user_id).clock

    def _session_of(self, user_id: str) -> ShardSession:
        return self.sessions[self._presence.shard_of(user_id).number]

    # Revocations

    def revoke(self, user_id: str, revoked_at: int) -> None:
        """Refuse the tokens of `user_id` that were issued up to `revoked_at` (seconds),
        and close their sockets here."""
        self._revocations.note(user_id, revoked_at)
        self._close_refused([user_id])

    def _read_revocations(self) -> None:
        """Wait for the interval, and follow the new revocations in SQL."""
        gevent.sleep(POLL_EVERY)
        self._close_refused(self._revocations.read_or_log())

    def _close_refused(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            for connection in self.hub.of_user(user_id):
                if self._revocations.refuses(user_id, connection.issued_at):
                    connection.has_left = True
                    connection.close(CloseCode.NOT_AUTHENTICATED, REVOKED)

    # After a loss

    def _reset_after_loss(self, shard: int, now: int) -> None:
        """A shard had lost this gateway. The shard's time is `now` (ms)."""
        self.hub.reset_after_loss(now)
        if shard == self._presence.shard_of(self.id).number:
            self.event_reader.reset_after_loss(now)
        self._resend_snapshots()

    def _clock_set_back(self, now: int) -> None:
        """A shard's clock was set back to `now` (ms). A new change may look older than
        a snapshot, so its event may have been dropped already."""
        self.hub.clock_set_back(now)
        self._resend_snapshots()

    def _resend_snapshots(self) -> None:
        """Clients here may have missed events. Send all of them a fresh snapshot, after
        the other gateways had time to register their connections again."""
        if self._resend_is_due:
            return
        self._resend_is_due = True

        def resend() -> None:
            self._resend_is_due = False
            self.snapshots.request(self.hub.connections())

        gevent.spawn_later(2 * self._settings.flush_interval, resend)


def _spawn_loop(name: str, step: Step) -> gevent.Greenlet[..., None]:
    """Call `step` again and again in a greenlet, for as long as the process lives.

    `step` waits by itself. The loop survives every error. While Redis is down, the loop
    repeats the step with growing pauses.
    """

    def loop() -> None:
        outage = Outage(name)
        while True:
            try:
                step()
            except PresenceUnavailable as error:
                outage.failed(error)
                gevent.sleep(retry_delay(outage.failures))
            except Exception:
                # A bug in one step must not stop heartbeats or delivery for all users.
                log.exception("%s: a step failed", name)
                gevent.sleep(1)
            else:
                outage.succeeded()

    return gevent.spawn(loop)
