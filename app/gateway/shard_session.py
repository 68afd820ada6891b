"""The part of a gateway that works with one shard: beginnings, heartbeats and ends of
the connections whose users belong there.

Each lane has loops of its own, and its own opinion on whether its shard may be
believed. So a shard that is away holds up nobody who belongs to another.
"""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event

from app.gateway.connects import Arrivals
from app.gateway.context import Context, LaneContext
from app.gateway.disconnects import Departures
from app.gateway.heartbeats import Heartbeats
from app.gateway.redis_health import Trust
from app.gateway.registrar import Registrar
from app.gateway.snapshots import Snapshots
from app.websocket.connection import Connection
from models.presence import Shard
from tasks import broadcast


class Lane:
    """One gateway's lane to one shard. Nothing connects before its steps are run."""

    def __init__(
        self,
        context: Context,
        shard: Shard,
        snapshots: Snapshots,
        on_lapse: Callable[[int, int], None],
        on_clock_set_back: Callable[[int], None],
    ) -> None:
        self._kicked = Event()
        self._context = lane = LaneContext(
            context.gateway_id,
            context.settings,
            context.presence,
            context.hub,
            context.counts,
            shard,
            Trust(context.settings),
            self._kicked.set,
        )
        self._departures = Departures(lane)
        registrar = Registrar(lane, self._departures)
        self._arrivals = Arrivals(lane, registrar, snapshots)
        self._heartbeats = Heartbeats(
            lane, registrar, snapshots, on_lapse, on_clock_set_back
        )

    def steps(self) -> dict[str, Callable[[], None]]:
        """What its loops do, by their names."""
        steps = {
            "arrivals": self._arrivals.step,
            "heartbeats": self._heartbeats.step,
            "departures": self._departures.step,
            "kicks": self._kick,
        }
        if len(self._context.presence.shards) == 1:
            return steps
        number = self._context.shard.number
        return {f"{name} of shard {number}": step for name, step in steps.items()}

    def announce(self) -> None:
        """Make the gateway known in the shard: fan-outs reach it from now on.

        Raises:
            PresenceUnavailable: the shard is away; the next flush does it.
        """
        self._heartbeats.flush()

    def leave(self) -> None:
        """Tell the shard of the last ends, and that the gateway is gone.

        Raises:
            PresenceUnavailable: the shard is away; its sweep notices by itself.
        """
        self._departures.release()
        self._context.shard.gateways.forget(self._context.gateway_id)

    def add(self, connection: Connection) -> None:
        """`connection`, in the hub already, is to be opened."""
        self._heartbeats.watch(connection)
        self._arrivals.add(connection)

    def heartbeat(self, connection: Connection) -> None:
        """A heartbeat came."""
        self._heartbeats.note(connection)

    def depart(self, connection: Connection) -> None:
        """`connection`, not in the hub any more, has ended."""
        self._heartbeats.forget(connection)
        self._departures.add(connection)

    def _kick(self) -> None:
        """Wait for somebody's transition, and have the outbox drained. In a loop of its
        own, so that a slow broker delays no socket."""
        self._kicked.wait()
        self._kicked.clear()
        broadcast.request_drain(self._context.shard.number)
