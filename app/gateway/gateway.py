"""The gateway of one web process: its parts, its loops and the life of a connection.

The data's way, in the order of docs/ARCHITECTURE.md: a socket's frames come in through
`connection`; beginnings, heartbeats and ends are gathered by `arrivals`, `heartbeats`
and `departures`; Redis is told, and what the fan-out answers comes back through
`listener` to the `hub`.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import socket

import gevent
from gevent.event import Event
from sqlalchemy.orm import Session, sessionmaker

from app.gateway.arrivals import Arrivals
from app.gateway.connection import Connection
from app.gateway.context import Context
from app.gateway.counts import LOST, Counts
from app.gateway.departures import Departures
from app.gateway.drain import drain
from app.gateway.figures import Figures
from app.gateway.heartbeats import Heartbeats
from app.gateway.hub import Hub
from app.gateway.listener import Listener
from app.gateway.loops import spawn_loop
from app.gateway.registrar import Registrar
from app.gateway.snapshots import Snapshots
from app.gateway.trust import Trust
from config import Settings
from models.presence import Presence, PresenceUnavailable
from tasks import broadcast

log = logging.getLogger(__name__)


def new_gateway_id() -> str:
    """A gateway is `name:incarnation`: a restarted process is not its old self."""
    name = os.environ.get("DYNO") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    return f"{name}.{os.getpid()}:{secrets.token_hex(4)}"


class Gateway:
    """The WebSocket side of one process. Nothing connects before `start`."""

    def __init__(
        self, settings: Settings, presence: Presence, sessions: sessionmaker[Session]
    ) -> None:
        self.id = new_gateway_id()
        self._numbers = itertools.count(1)
        self._kicked = Event()
        self._loops: list[gevent.Greenlet[..., None]] = []
        self.counts = Counts()
        self.hub = Hub(self.counts)
        self.figures = Figures(self.hub, self.counts)
        self._context = context = Context(
            self.id,
            settings,
            presence,
            self.hub,
            Trust(settings),
            self.counts,
            self._kicked.set,
        )
        self._departures = Departures(context)
        self._snapshots = Snapshots(context, sessions)
        registrar = Registrar(context, self._departures)
        self._arrivals = Arrivals(context, registrar, self._snapshots)
        self._heartbeats = Heartbeats(context, registrar, self._resend_snapshots)
        self._listener = Listener(context, self._snapshots)

    # The life of the process

    def start(self) -> None:
        """Begin to work. Call it once, in the process that serves the sockets."""
        steps = {
            "arrivals": self._arrivals.step,
            "heartbeats": self._heartbeats.step,
            "departures": self._departures.step,
            "listener": self._listener.step,
            "snapshots": self._snapshots.step,
            "kicks": self._kick,
            "figures": self.figures.step,
        }
        self._loops = [spawn_loop(name, step) for name, step in steps.items()]
        try:
            self._heartbeats.flush()  # fan-outs reach this process from now on
        except PresenceUnavailable as error:
            log.warning("gateway %s starts while Redis is away: %s", self.id, error)
        log.info("gateway %s is up", self.id)

    def drain(self) -> None:
        """Send all clients away, spread over the drain window."""
        drain(self.hub, self._context.settings.drain_window)

    def stop(self) -> None:
        """Tell Redis of the last ends, and leave. What cannot be told is noticed by
        the sweep when this gateway's deadline has passed."""
        gevent.killall(self._loops)
        for connection in self.hub.connections():
            self.depart(connection)
        try:
            self._departures.release()
            self._context.presence.gateways.forget(self.id)
        except PresenceUnavailable as error:
            log.warning("gateway %s leaves while Redis is away: %s", self.id, error)
        self.figures.write()
        log.info("gateway %s is gone", self.id)

    # The life of a connection

    def new_connection_id(self) -> str:
        """An id that begins with the gateway's, so that the connections of a dead
        gateway can be told from others."""
        return f"{self.id}:{next(self._numbers)}"

    def serve(self, connection: Connection) -> None:
        """Serve a client from after its handshake to the end of its socket."""
        # In the hub first, then in Redis, then the snapshot: nothing is missed.
        self.hub.add(connection)
        self._arrivals.add(connection)
        try:
            connection.run()
        finally:
            if not connection.is_closing:
                self.counts.closes[LOST] += 1
            self.depart(connection)

    def heartbeat(self, connection: Connection) -> None:
        """A heartbeat came."""
        self.counts.heartbeats += 1
        self._heartbeats.note(connection)

    def depart(self, connection: Connection) -> None:
        """The connection has ended, or is being closed."""
        if self.hub.remove(connection):
            self._heartbeats.forget(connection)
            self._departures.add(connection)

    # Loops that need no module of their own

    def _kick(self) -> None:
        """Wait for somebody's transition, and have the outbox drained. In a loop of its
        own, so that a slow broker delays no socket."""
        self._kicked.wait()
        self._kicked.clear()
        broadcast.kick()

    def _resend_snapshots(self) -> None:
        """Redis had lost this gateway: events may be lost too. Once the others have
        registered anew as well, everybody gets a fresh picture."""
        self.counts.lapses += 1
        self.hub.forget_news()
        delay = 2 * self._context.settings.flush_interval
        gevent.spawn_later(delay, lambda: self._snapshots.owe(self.hub.connections()))
