"""What the gateways of this web server have done, as numbers for Prometheus.

The code that does something adds to a number in `Counts`. Code that works in batches
adds once per batch. `GatewayMetrics` publishes the numbers once a second. So counting
costs the sockets nothing that can be measured.

A scrape reaches one of the server's worker processes, and any of them may answer it. So
each process writes its numbers into its own file, and the process that answers adds
them up. This is the multiprocess mode of prometheus-client, which
`app.server.gunicorn_config` sets up.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections import deque
from collections.abc import Sized
from dataclasses import dataclass, field

import gevent
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from app.websocket.connection import BY_CLIENT, LOST
from app.websocket.writer import SocketCounts
from models.events import CloseCode
from models.worker_metrics import SECONDS

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable in which prometheus-client expects the folder for these
files. The library reads the variable when it is imported."""
EVERY = 1.0
"""Seconds between two writes."""
MAX_DELIVERIES = 10_000
"""The most deliveries that one write observes. A gateway delivers fewer messages in a
second, so it reaches this number only if the writes fail."""
LIMITS = ("rest", "tickets", "handshakes_user", "handshakes_address")
"""The limits, by the end of their settings."""
ALLOWED, REFUSED, SKIPPED = "allowed", "refused", "skipped"

COUNTERS = {
    "handshakes": "WebSocket handshakes answered, including those refused afterwards",
    "frames": "Frames that clients sent",
    "heartbeats": "Heartbeats that clients sent",
    "notifications": "Status changes handed to connections",
    "snapshots": "Snapshots sent",
    "lapses": "Times that Redis had lost a gateway that had connections",
    "over_limit": "Calls and handshakes refused because of a PRESENCE_LIMIT_ setting",
    "limits_skipped": "Calls and handshakes not counted, because Redis was down",
    "registered_anew": "Connections registered again, because Redis had lost them",
}
"""Fields of `Counts` that only grow, with their descriptions."""


@dataclass(slots=True)
class Counts(SocketCounts):
    """The numbers of one gateway process. All fields of this class only grow."""

    heartbeats: int = 0
    notifications: int = 0
    """Status changes handed to a connection."""
    snapshots: int = 0
    lapses: int = 0
    """Times that Redis had lost this gateway while the gateway had connections."""
    over_limit: int = 0
    """Calls and handshakes refused because of a limit."""
    limits_skipped: int = 0
    """Calls and handshakes that were not counted, because Redis was down."""
    registered_anew: int = 0
    """Connections that Redis had lost and that were registered again."""
    limit_calls: Tally[tuple[str, str]] = field(default_factory=Tally)
    """Calls and handshakes that a limit has counted, by limit and result."""
    delivery_ms: deque[float] = field(
        default_factory=lambda: deque(maxlen=MAX_DELIVERIES)
    )
    """One value for each message since the last write: how old its oldest change was
    when its frames had been written (ms). An event with over 1,000 recipients has a
    value of its own."""


class GatewayMetrics:
    """The metrics of one gateway process. `collected` adds those of the other processes
    of this web server. The length of `connections` is the number of open connections,
    and the process takes up to `max_connections`. The web server runs `processes`."""

    def __init__(
        self, connections: Sized, counts: Counts, max_connections: int, processes: int
    ) -> None:
        self._all_connections = connections
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
        self._limit_calls = Counter(
            "greendot_limit_calls",
            "Calls and handshakes with a limit. Skipped: let pass without Redis",
            ["limit", "result"],
            registry=registry,
        )
        self._deliveries = Histogram(
            "greendot_delivery_seconds",
            "Time from a change to the writes that tell others of it",
            buckets=SECONDS,
            registry=registry,
        )
        self._connections = self._gauge("greendot_connections", "Open connections")
        self._capacity = self._gauge(
            "greendot_max_connections", "Connections that this web server takes"
        )
        self._max_connections = max_connections
        self._expected = Gauge(
            "greendot_expected_gateways",
            "Gateway processes that this web server runs",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._processes = processes
        self._queuing = self._gauge(
            "greendot_queuing_connections",
            "Connections whose client reads more slowly than we write",
        )
        self._queued_bytes = self._gauge(
            "greendot_queued_bytes", "Bytes that wait for them"
        )
        self._written = Counts()
        for code in (*map(str, map(int, CloseCode)), BY_CLIENT, LOST):
            self._closes.labels(code)  # Prometheus needs a 0 first to compute a rate
        for limit in LIMITS:
            for result in (ALLOWED, REFUSED, SKIPPED):
                self._limit_calls.labels(limit, result)

    def step(self) -> None:
        """Wait for the interval, and write."""
        gevent.sleep(EVERY)
        self.write()

    def write(self) -> None:
        """Write the numbers of this process where the other processes can read them."""
        counts, written = self._counts, self._written
        for name, counter in self._counters.items():
            value = getattr(counts, name)
            counter.inc(value - getattr(written, name))
            setattr(written, name, value)
        for code, value in counts.closes.items():
            self._closes.labels(code).inc(value - written.closes[code])
            written.closes[code] = value
        for labels, value in counts.limit_calls.items():
            self._limit_calls.labels(*labels).inc(value - written.limit_calls[labels])
            written.limit_calls[labels] = value
        while counts.delivery_ms:
            # The estimate of the clock of Redis is a little late.
            self._deliveries.observe(max(0.0, counts.delivery_ms.popleft()) / 1000)
        self._connections.set(len(self._all_connections))
        self._capacity.set(self._max_connections)
        self._expected.set(self._processes)
        self._queuing.set(counts.queuing)
        self._queued_bytes.set(counts.queued_bytes)

    def collected(self) -> CollectorRegistry:
        """The metrics of all gateways of this web server. If no folder is set up, the
        metrics of this process only."""
        self.write()
        if METRICS_FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")
