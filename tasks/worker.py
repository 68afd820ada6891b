"""A worker: its tasks, how it waits for the broker, and what it logs.

Celery waits up to 30 s between two attempts to reach the broker, and stops after 100
attempts. If the broker answers with an error (it is full, or a replica), Celery does
not treat this as an outage. It logs a traceback for each attempt.

Here a worker tries every two seconds and never gives up. It treats an error reply as an
outage. It logs an outage once a minute.

`tasks.startup` imports this module in a worker. Beat and the web process only send
tasks, and never import it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from typing import Any

from celery.apps import worker
from celery.signals import (
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)
from celery.worker import consumer
from celery.worker.consumer.consumer import CONNECTION_ERROR
from celery.worker.state import maybe_shutdown

from models.garbage import collect_less
from models.telemetry import causes, logs, traces
from tasks import (
    announcements,
    broadcast,
    crowds,
    doctor,
    expiry,
    history,
    layers,
    metrics,
    samples,
    webhooks,
)
from tasks.celery_app import NICENESS, current_settings
from tasks.drainer_policy import worker_state
from tasks.outage_log import BROKER, OutageFilter

TASKS = (
    announcements,
    broadcast,
    crowds,
    doctor,
    expiry,
    history,
    layers,
    metrics,
    samples,
    webhooks,
)
"""The modules that define tasks, or what happens around each task."""
RETRY_SECONDS = 2.0
"""Seconds between two attempts to reach the broker."""

# What may be unavailable, beside the broker
STATE = "Redis or the database"
NEWER_WORKER = "a newer worker"
OUTAGES = {
    CONNECTION_ERROR: BROKER,
    "%s (%r)": BROKER,  # from Celery's consumer, with its text CONNECTION_RETRY
    broadcast.DRAIN_NOT_REQUESTED: BROKER,
    broadcast.NEEDS_NEWER_WORKER: NEWER_WORKER,
    broadcast.NOT_BROADCAST: STATE,
    broadcast.LEASE_NOT_GIVEN_UP: STATE,
    broadcast.CROWDS_NOT_REQUESTED: BROKER,
    crowds.NOT_TOLD: STATE,
    crowds.NEEDS_NEWER_WORKER: NEWER_WORKER,
    expiry.NOT_EXPIRED: STATE,
    announcements.NOT_ANNOUNCED: STATE,
    history.NOT_STORED: STATE,
    history.NOT_DELETED: STATE,
    layers.NOT_ENDED: STATE,
    samples.NOT_SAMPLED: STATE,
    webhooks.NOT_SENT: STATE,
}
"""Log message -> what is unavailable when it is logged."""

log = logging.getLogger(consumer.consumer.__name__)
_TRY_AGAIN = f"Trying again in {RETRY_SECONDS} s"


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer, but it retries every two seconds and never gives up. If the
    broker refuses the declaration of our queue, it counts as unreachable."""

    _failed_at = -RETRY_SECONDS

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - Celery has no types
        """Wait until the broker answers and accepts writes."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=RETRY_SECONDS / 4,
            interval_step=RETRY_SECONDS / 4,
            interval_max=RETRY_SECONDS,
        )
        while True:
            super().ensure_connected(conn)
            try:
                for queue in self.app.amqp.queues.consume_from.values():
                    queue(conn.default_channel).declare()
            except conn.connection_errors as error:
                conn.collect()
                log.error(  # noqa: TRY400
                    CONNECTION_ERROR, conn.as_uri(), error, _TRY_AGAIN
                )
                _wait()
            else:
                return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Do what Celery does, and wait after repeated errors."""
        super().on_connection_error_before_connected(exc)
        self._wait_if_repeated()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Do what Celery does, and wait after repeated errors. A broker may accept each
        connection but refuse the first command. Without the wait this would be a busy
        loop."""
        super().on_connection_error_after_connected(exc)
        self._wait_if_repeated()

    def _wait_if_repeated(self) -> None:
        if time.monotonic() - self._failed_at < RETRY_SECONDS:
            _wait()
        self._failed_at = time.monotonic()


def _wait() -> None:
    """Wait RETRY_SECONDS. If the worker must stop in this time, raise what Celery
    raises."""
    until = time.monotonic() + RETRY_SECONDS
    while time.monotonic() < until:
        maybe_shutdown()
        time.sleep(RETRY_SECONDS / 20)


def _write(message: str, *_: object) -> None:
    """Like Celery's `safe_say`, but in the form of the log. A signal handler calls it,
    so it uses no lock and no buffer."""
    line = logging.LogRecord(__name__, logging.INFO, "", 0, message, None, None)
    text = logs.make_formatter(current_settings()).format(line)
    os.write(sys.stderr.fileno(), f"{text}\n".encode())


worker.safe_say = _write


@task_prerun.connect
def _begin_task(task_id: str, task: Any, **_: object) -> None:  # noqa: ANN401
    causes.begin_request(task.request.get("request_id") or task_id)


@task_postrun.connect
def _end_task(**_: object) -> None:
    causes.end_request()


@worker_process_init.connect
def _prepare_process(**_: object) -> None:
    traces.start(current_settings())
    collect_less()
    os.nice(NICENESS)


@worker_process_shutdown.connect
def _end_process(**_: object) -> None:
    traces.stop()


@worker_init.connect
def _prepare_worker(sender: Any, **_: object) -> None:  # noqa: ANN401 - no types
    # This runs before the fork, so all processes get the number and the filter.
    outages = OutageFilter(OUTAGES)
    for logger in (log, *(module.log for module in TASKS)):
        logger.addFilter(outages)
    # A collection writes to all objects that it visits, and so copies the memory that
    # the processes share with this one.
    collect_less()
    concurrency = sender.concurrency
    worker_state.count(
        concurrency if isinstance(concurrency, int) else 1,
        sends_webhooks=bool(current_settings().webhook_urls),
    )


@worker_shutting_down.connect
def _stop_drainers(**_: object) -> None:
    worker_state.stop()
