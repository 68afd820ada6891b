"""The gateway of one web process: its parts, its loops and the life of a connection.

The data's way, in the order of docs/ARCHITECTURE.md: a socket's frames come in through
`connection`; beginnings, heartbeats and ends are gathered by `arrivals`, `heartbeats`
and `departures`, of which each shard has its own (`lane`); Redis is told, and what the
fan-out answers comes back through `listener` to the `hub`.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable

import gevent
from sqlalchemy import Engine

from app.gateway.context import Context
from app.gateway.counts import LOST, Counts
from app.gateway.event_reader import Listener
from app.gateway.hub import Hub
from app.gateway.loops import spawn_loop
from app.gateway.metrics import Figures
from app.gateway.new_users import Newcomers
from app.gateway.shard_session import Lane
from app.gateway.shutdown import drain
from app.gateway.snapshots import Snapshots
from app.websocket.connection import Connection
from config import Settings
from models.events import VERSION, CloseCode
from models.presence import Presence, PresenceUnavailable

log = logging.getLogger(__name__)

AWAY = "gateway %s %s while Redis is away: %s"


def new_gateway_id() -> str:
    """A gateway is `name:incarnation`: a restarted process is not its old self. The
    incarnation ends with the version of the messages that it reads, so that all who
    send it any know that."""
    name = os.environ.get("DYNO") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    return f"{name}.{os.getpid()}:{secrets.token_hex(4)}-v{VERSION}"


class Gateway:
    """The WebSocket side of one process. Nothing connects before `start`."""

    def __init__(
        self,
        settings: Settings,
        presence: Presence,
        database: Engine,
        newcomers: Newcomers,
    ) -> None:
        self.id = new_gateway_id()
        self._numbers = itertools.count(1)
        self._loops: list[gevent.Greenlet[..., None]] = []
        self._resend_is_due = False
        self.counts = Counts()
        self.hub = Hub(self.counts)
        self.figures = Figures(self.hub, self.counts)
        self._context = context = Context(
            self.id, settings, presence, self.hub, self.counts
        )
        self._snapshots = Snapshots(context, database, newcomers)
        self._lanes = [
            Lane(
                context,
                shard,
                self._snapshots,
                self._begin_anew,
                self._step_back,
            )
            for shard in presence.shards
        ]
        self._listener = Listener(context, self._snapshots, self._resend_snapshots)

    # The life of the process

    def start(self) -> None:
        """Begin to work. Call it once, in the process that serves the sockets."""
        steps = {
            "listener": self._listener.step,
            "snapshots": self._snapshots.step,
            "figures": self.figures.step,
        }
        for lane in self._lanes:
            steps |= lane.steps()
        self._loops = [spawn_loop(name, step) for name, step in steps.items()]
        gevent.spawn(self._warn_of_eviction)
        self._each_lane(Lane.announce, "starts")
        log.info("gateway %s is up", self.id)

    def _warn_of_eviction(self) -> None:
        """Say so where Redis may delete a part of the state."""
        try:
            policies = self._context.presence.evicting_policies()
        except PresenceUnavailable as error:
            log.debug("the maxmemory-policy of Redis is unknown: %s", error)
            return
        if policies:
            log.warning(
                "Redis deletes keys where its memory is full (maxmemory-policy %s), "
                "also those that say who is online: set it to noeviction, see "
                "docs/OPERATIONS.md",
                ", ".join(sorted(policies)),
            )

    def drain(self) -> None:
        """Send all clients away, spread over the drain window."""
        drain(self.hub, self._context.settings.drain_window)

    def stop(self) -> None:
        """Tell Redis of the last ends, and leave. What cannot be told is noticed by
        the sweep when this gateway's deadline has passed."""
        gevent.killall(self._loops)
        for connection in self.hub.connections():
            self.depart(connection)
        self._each_lane(Lane.leave, "leaves")
        self.figures.write()
        log.info("gateway %s is gone", self.id)

    def _each_lane(self, act: Callable[[Lane], None], what: str) -> None:
        """Have all lanes `act` at once: a shard that is away takes its time."""

        def attempt(lane: Lane) -> None:
            try:
                act(lane)
            except PresenceUnavailable as error:
                log.warning(AWAY, self.id, what, error)

        attempts = [gevent.spawn(attempt, lane) for lane in self._lanes]
        gevent.joinall(attempts, raise_error=True)

    def _lane_of(self, connection: Connection) -> Lane:
        return self._lanes[self._context.presence.shard_of(connection.user_id).number]

    # The life of a connection

    def new_connection_id(self) -> str:
        """An id that begins with the gateway's, so that the connections of a dead
        gateway can be told from others."""
        return f"{self.id}:{next(self._numbers)}"

    def serve(self, connection: Connection) -> None:
        """Serve a client from after its handshake to the end of its socket."""
        try:
            # In the hub first, then in Redis, then the snapshot: nothing is missed.
            self.hub.add(connection)
            self._lane_of(connection).add(connection)
            connection.run()
        except Exception:
            log.exception("connection %s failed", connection.connection_id)
            connection.close(CloseCode.INTERNAL_ERROR, "internal error")
            connection.read_to_the_end()
        finally:
            if not connection.is_closing:
                self.counts.closes[LOST] += 1
            self.depart(connection)

    def heartbeat(self, connection: Connection) -> None:
        """A heartbeat came."""
        self.counts.heartbeats += 1
        self._lane_of(connection).heartbeat(connection)

    def depart(self, connection: Connection) -> None:
        """The connection has ended, or is being closed."""
        if self.hub.remove(connection):
            self._lane_of(connection).depart(connection)

    def _begin_anew(self, shard: int, now: int) -> None:
        """A shard, in which it is `now` (ms), had lost this gateway."""
        self.hub.begin_anew(now)
        if shard == self._context.presence.shard_of(self.id).number:
            self._listener.begin_anew(now)
        self._resend_snapshots()

    def _step_back(self, now: int) -> None:
        """A shard's clock was set back, and it is `now` there (ms). A new change may
        look older than a snapshot, and may have been dropped already."""
        self.hub.step_back(now)
        self._resend_snapshots()

    def _resend_snapshots(self) -> None:
        """Somebody here may have missed events. Once the other gateways have registered
        anew as well, where they must, all get a fresh picture."""
        if self._resend_is_due:
            return
        self._resend_is_due = True

        def resend() -> None:
            self._resend_is_due = False
            self._snapshots.owe(self.hub.connections())

        gevent.spawn_later(2 * self._context.settings.flush_interval, resend)
