"""The counts of this web server's gateways, for Prometheus.

A scrape lands on any one of the server's worker processes. So each process writes its
counts once a second into a file of its own (the multiprocess mode of
prometheus-client, which `app.server.gunicorn_config` sets up), and the one that is
asked adds them up.
"""

from __future__ import annotations

import os

import gevent
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from app.gateway.counts import BY_CLIENT, LOST, Counts
from app.gateway.hub import Hub
from models.events import CloseCode

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The library's variable: the folder of the files. Read when it is imported."""
EVERY = 1.0
"""Seconds between two writes."""

COUNTERS = {
    "handshakes": "WebSocket handshakes answered, those then refused included",
    "frames": "Frames that clients sent",
    "heartbeats": "Heartbeats that clients sent",
    "notifications": "Status changes handed to connections",
    "snapshots": "Snapshots sent",
    "lapses": "Times that Redis had lost a gateway that held connections",
    "registered_anew": "Connections registered anew, for Redis had lost them",
}
"""Fields of `Counts` that only grow, and what they say."""


class Figures:
    """The figures of one gateway process, and of all those beside it."""

    def __init__(self, hub: Hub, counts: Counts) -> None:
        self._hub = hub
        self._counts = counts
        self._registry = registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"greendot_{name}", text, registry=registry)
            for name, text in COUNTERS.items()
        }
        self._closes = Counter(
            "greendot_closes",
            "Ends of connections: by close code, by the client, or lost",
            ["code"],
            registry=registry,
        )
        self._connections = Gauge(
            "greendot_connections",
            "Open connections",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._queuing = Gauge(
            "greendot_queuing_connections",
            "Connections whose client reads more slowly than we write",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._queued_bytes = Gauge(
            "greendot_queued_bytes",
            "What waits for them",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._told = Counts()
        for code in (*map(str, map(int, CloseCode)), BY_CLIENT, LOST):
            self._closes.labels(code)  # a rate needs the 0 that came before the 1

    def step(self) -> None:
        """Wait for the interval, and write."""
        gevent.sleep(EVERY)
        self.write()

    def write(self) -> None:
        """Write the counts of this process where the others can read them."""
        counts, told = self._counts, self._told
        for name, counter in self._counters.items():
            value = getattr(counts, name)
            counter.inc(value - getattr(told, name))
            setattr(told, name, value)
        for code, value in counts.closes.items():
            self._closes.labels(code).inc(value - told.closes[code])
            told.closes[code] = value
        self._connections.set(len(self._hub))
        self._queuing.set(counts.queuing)
        self._queued_bytes.set(counts.queued_bytes)

    def collected(self) -> CollectorRegistry:
        """The figures of all gateways of this web server; of this one alone where
        nobody has set up a folder."""
        self.write()
        if FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
