"""Changes how Celery's worker and beat wait for the broker, and what they log.

Celery waits up to 30 s between two attempts to reach the broker, and stops after 100
attempts. If the broker answers with an error (it is full, or a replica), Celery does
not treat this as an outage. It logs a traceback for each attempt, and for each task
that beat cannot send.

Here a worker tries every two seconds and never gives up. It treats an error reply as an
outage. It logs an outage once a minute.

Worker and beat import this module because it is listed in Celery's `imports`. The web
process only sends tasks, and never imports it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from logging.handlers import WatchedFileHandler
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import beat
from celery.apps import worker
from celery.signals import (
    beat_init,
    celeryd_init,
    setup_logging,
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
from models.telemetry import causes, error_reports, logs, traces
from tasks import announcements, broadcast, expiry, history, samples, webhooks
from tasks.celery_app import NICENESS, current_settings
from tasks.drainer_policy import worker_state

RETRY_SECONDS = 2.0
"""Seconds between two attempts to reach the broker."""
LOG_EVERY = 60.0
"""Seconds between two log lines about the same outage."""

# What may be unavailable
BROKER = "the broker"
STATE = "Redis or the database"
NEWER_WORKER = "a newer worker"
_BEAT_ERROR = "Message Error: %s\n%s"
OUTAGES = {
    CONNECTION_ERROR: BROKER,
    "%s (%r)": BROKER,  # from Celery's consumer, with its text CONNECTION_RETRY
    _BEAT_ERROR: BROKER,
    "beat: Connection error: %s. Trying again in %s seconds...": BROKER,
    broadcast.DRAIN_NOT_REQUESTED: BROKER,
    broadcast.NEEDS_NEWER_WORKER: NEWER_WORKER,
    broadcast.NOT_BROADCAST: STATE,
    broadcast.LEASE_NOT_GIVEN_UP: STATE,
    expiry.NOT_EXPIRED: STATE,
    announcements.NOT_ANNOUNCED: STATE,
    history.NOT_STORED: STATE,
    history.NOT_DELETED: STATE,
    samples.NOT_SAMPLED: STATE,
    webhooks.NOT_SENT: STATE,
}
"""Log message -> what is unavailable when it is logged."""

log = logging.getLogger(consumer.consumer.__name__)
own_log = logging.getLogger(__name__)
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


class OutageFilter(logging.Filter):
    """Lets a log line about an outage pass once a minute, without its traceback. All
    other lines pass unchanged. `messages` has the form of OUTAGES.

    A worker makes the filter before it forks its processes. So all of them share the
    time of the last line.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__()
        logged_at = {what: RawValue(ctypes.c_double) for what in messages.values()}
        self._logged_at = {
            message: logged_at[what] for message, what in messages.items()
        }

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write `record`."""
        logged_at = self._logged_at.get(str(record.msg))
        if logged_at is None:
            return True
        now = time.monotonic()
        if logged_at.value and now - logged_at.value < LOG_EVERY:
            return False
        logged_at.value = now
        record.exc_info = None
        if record.msg == _BEAT_ERROR and isinstance(record.args, tuple):
            record.msg, record.args = "%s", record.args[:1]  # without the traceback
        return True


@celeryd_init.connect
def _log_early(**_: object) -> None:
    """Warnings come before Celery sets up its log. Sentry must be there before the
    fork: it changes how Celery calls tasks."""
    logs.configure(current_settings())
    error_reports.start(current_settings())


def _write(message: str, *_: object) -> None:
    """Like Celery's `safe_say`, but in the form of the log. A signal handler calls it,
    so it uses no lock and no buffer."""
    line = logging.LogRecord(__name__, logging.INFO, "", 0, message, None, None)
    text = logs.make_formatter(current_settings()).format(line)
    os.write(sys.stderr.fileno(), f"{text}\n".encode())


worker.safe_say = _write


@setup_logging.connect
def _set_up_logging(loglevel: int, logfile: str | None, **_: object) -> None:
    """Replaces Celery's own log. `loglevel`, for Celery's own lines, and `logfile` are
    options of its command."""
    handlers = [WatchedFileHandler(logfile)] if logfile else []
    logs.configure(current_settings(), handlers)
    logging.getLogger("celery").setLevel(loglevel)
    outages = OutageFilter(OUTAGES)
    for ours in (announcements, broadcast, expiry, history, samples, webhooks):
        ours.log.addFilter(outages)
    for logger in (log, beat.logger):
        logger.addFilter(outages)
    # Celery writes two lines about each task, and one about each expired task. Tasks
    # come every few seconds, so these lines say nothing. Failures and our own lines are
    # still logged.
    for name in ("strategy", "request"):
        logging.getLogger(f"celery.worker.{name}").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@task_prerun.connect
def _begin_task(task_id: str, task: Any, **_: object) -> None:  # noqa: ANN401
    causes.begin_request(task.request.get("request_id") or task_id)


@task_postrun.connect
def _end_task(**_: object) -> None:
    causes.end_request()


@beat_init.connect
def _say_that_beat_is_up(**_: object) -> None:
    own_log.info("beat is up, sweeps run every %g s", current_settings().sweep_interval)


@worker_process_init.connect
def _prepare_process(**_: object) -> None:
    traces.start(current_settings())
    collect_less()
    os.nice(NICENESS)


@worker_process_shutdown.connect
def _end_process(**_: object) -> None:
    traces.stop()


@worker_init.connect
def _count_processes(sender: Any, **_: object) -> None:  # noqa: ANN401 - no types
    # This runs before the fork, so all processes get the number.
    concurrency = sender.concurrency
    worker_state.count(
        concurrency if isinstance(concurrency, int) else 1,
        sends_webhooks=bool(current_settings().webhook_urls),
    )


@worker_shutting_down.connect
def _stop_drainers(**_: object) -> None:
    worker_state.stop()
