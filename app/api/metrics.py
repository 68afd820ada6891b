"""`GET /metrics` for Prometheus: the system's state, and this web server's work.

The state comes from Redis at the moment of the scrape, so every process gives the same
answer. At the same time the process asks the database whether it answers. The work of
this web server's gateways comes from `GatewayMetrics`, which needs neither of the two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import gevent
from flask import Blueprint, Flask, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.api.health import Check
from app.api.schema.operation import Response as Described
from app.api.schema.operation import for_anyone
from app.outages import Outage
from app.services import services
from models.presence import Overview, Presence, PresenceError, PresenceUnavailable
from models.presence.webhooks import ReceiverState
from models.sql.db import check_answers
from models.worker_metrics import (
    AUDIENCE,
    DATABASE_OUTAGES,
    FANOUT,
    STATUSES,
    TASK_FAILURES,
    TASKS,
    TRANSITIONS,
    WEBHOOKS,
    WorkerCounter,
    WorkerHistogram,
)
from tasks.celery_app import scheduled_tasks, short_name

blueprint = Blueprint("metrics", __name__)

EXTENSION = "greendot-database-answers"
REDIS_SECONDS = 2.0
"""Seconds that Redis has to answer. Prometheus gives up after 10 s."""
COUNTERS = (TRANSITIONS, TASK_FAILURES, DATABASE_OUTAGES)
HISTOGRAMS = (FANOUT, AUDIENCE, WEBHOOKS, TASKS)
"""What workers count."""

# `alone`: if nobody calls the route after an outage, the loops of the gateway still log
# that Redis works again.
_no_state = Outage("/metrics has no state", alone=True)
_no_numbers = Outage("/metrics has no numbers of the workers", alone=True)


def register(app: Flask) -> None:
    """Serve /metrics."""
    with app.app_context():
        database = services().database
    app.extensions[EXTENSION] = Check(
        "/metrics asks the database", lambda: check_answers(database)
    )
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
@for_anyone(
    "Server",
    responses={
        200: Described(
            "The metrics, in the text format of Prometheus.", content_type="text/plain"
        )
    },
)
def metrics() -> Response:
    """All metrics, as text. The answer is 200 even while Redis or the database is down.

    docs/OPERATIONS.md has the list.
    """
    current = services()
    database: Check = current_app.extensions[EXTENSION]
    database.begin()
    found = _read(current.presence)
    state = CollectorRegistry()
    state.register(State(found, has_database=database.reason() is None))
    body = generate_latest(state) + generate_latest(current.gateway.metrics.collected())
    return Response(body, content_type=CONTENT_TYPE_LATEST)


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis says. All of it is missing if Redis is down."""

    overview: Overview | None = None
    receivers: Sequence[ReceiverState] = ()
    work: Mapping[str, int] | None = None
    """The numbers of the workers. None if they cannot be read from all shards."""


def _read(presence: Presence) -> Found:
    """The state. If Redis does not answer in time, a greenlet continues to wait until
    the Redis client's own time-out."""

    def read() -> Found | PresenceUnavailable:
        try:
            return Found(
                presence.overview(),
                presence.webhooks.states_where_possible(),
                _work(presence),
            )
        except PresenceUnavailable as error:
            return error

    found: Found | PresenceUnavailable
    try:
        found = gevent.spawn(read).get(timeout=REDIS_SECONDS)
    except gevent.Timeout:
        found = PresenceUnavailable(f"Redis did not answer in {REDIS_SECONDS:g} s")
    if isinstance(found, PresenceUnavailable):
        _no_state.failed(found)
        return Found()
    _no_state.succeeded()
    return found


def _work(presence: Presence) -> Mapping[str, int] | None:
    fields = [field for one in HISTOGRAMS for field in _fields(one)]
    fields += [one.field(value) for one in COUNTERS for value in _values(one.label)]
    try:
        numbers = presence.worker_counts.read(fields)
    except PresenceError as error:
        _no_numbers.failed(error)
        return None
    _no_numbers.succeeded()
    return numbers


class State(Collector):
    """The state of the whole system for Prometheus. If Redis is down, the only metrics
    are whether Redis and the database answer."""

    def __init__(self, found: Found, *, has_database: bool) -> None:
        self._has_database = has_database
        self._overview = found.overview
        self._receivers = found.receivers
        self._work = found.work

    def collect(self) -> Iterator[Metric]:
        """All families of metrics."""
        one = self._overview
        yield _gauge("redis_up", "Whether any Redis answers", one is not None)
        yield _gauge("database_up", "Whether the database answers", self._has_database)
        if one is None:
            return
        yield _gauge("shards_away", "Shards that do not answer", one.shards_away)
        yield _gauge("online_users", "Users who are online", one.online)
        gateways = GaugeMetricFamily(
            "greendot_gateways", "Gateway processes that Redis knows", labels=["state"]
        )
        gateways.add_metric(["alive"], one.gateways - one.overdue_gateways)
        gateways.add_metric(["overdue"], one.overdue_gateways)
        yield gateways
        yield _gauge("outbox", "Transitions that wait to be broadcast", one.outbox)
        yield _gauge(
            "unstored",
            "Transitions that wait to be stored in the database",
            one.unstored,
        )
        yield _gauge(
            "sweeps_held", "Shards in which the breaker holds sweeps", one.sweeps_held
        )
        yield CounterMetricFamily(
            "greendot_sweep_holds",
            "Times that the breaker has begun to hold the sweeps",
            value=one.sweep_holds,
        )
        if one.last_sweep_age is not None:
            yield _gauge(
                "last_sweep_age_seconds",
                "Seconds since the last sweep",
                one.last_sweep_age / 1000,
            )
        yield _gauge(
            "epoch_timestamp_seconds",
            "When Redis was last noticed to have lost what it knew; 0 for never",
            one.epoch / 1000,
        )
        yield from self._webhooks()
        if self._work is not None:
            for counter in COUNTERS:
                yield _counter(counter, self._work)
            for histogram in HISTOGRAMS:
                yield _histogram(histogram, self._work)

    def _webhooks(self) -> Iterator[Metric]:
        receivers = self._receivers
        states = Counter(one.state for one in receivers)
        family = GaugeMetricFamily(
            "greendot_webhooks", "Webhook receivers", labels=["state"]
        )
        for state in ("active", "failing", "disabled"):
            family.add_metric([state], states[state])
        yield family
        yield _gauge(
            "webhook_pending",
            "Users whose newest state a webhook receiver has not heard",
            sum(one.pending for one in receivers),
        )
        requests = CounterMetricFamily(
            "greendot_webhook_requests", "Webhooks that were sent", labels=["result"]
        )
        requests.add_metric(["accepted"], sum(one.successes for one in receivers))
        requests.add_metric(["failed"], sum(one.failed for one in receivers))
        yield requests


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"greendot_{name}", text, value=value)


def _counter(counter: WorkerCounter, work: Mapping[str, int]) -> Metric:
    name, label = f"greendot_{counter.name}", counter.label
    family = CounterMetricFamily(name, counter.text, labels=[label])
    for value in _values(label):
        family.add_metric([value], work.get(counter.field(value), 0))
    return family


def _histogram(histogram: WorkerHistogram, work: Mapping[str, int]) -> Metric:
    labels = [histogram.label] if histogram.label else []
    name = f"greendot_{histogram.name}"
    family = HistogramMetricFamily(name, histogram.text, labels=labels)
    for value in _values(histogram.label):
        buckets, total = histogram.read(work, value)
        named = [(_bound(bound), count) for bound, count in buckets]
        family.add_metric([value] if labels else [], named, total)
    return family


def _bound(bound: float) -> str:
    """An upper bound as Prometheus writes it."""
    return "+Inf" if bound == math.inf else str(float(bound))


def _fields(histogram: WorkerHistogram) -> Iterator[str]:
    for value in _values(histogram.label):
        yield from histogram.fields(value)


def _values(label: str) -> Sequence[str]:
    """All values of a label. Only these series exist, so each starts at 0."""
    if label == "task":
        return sorted(map(short_name, scheduled_tasks()))
    return STATUSES if label == "status" else [""]
