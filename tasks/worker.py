"""What a worker and beat do beyond Celery: signals, waiting for the broker, log lines.

Celery waits up to 30 s between two attempts to reach the broker, and stops after 100
attempts. It takes an error reply of the broker (full, a replica) for a fault of its
own. It writes a traceback per attempt and beat entry. Here a worker tries every two
seconds, for hours if need be, and an outage is one log line a minute.

Worker and beat import this module because it is listed in Celery's `imports`. The web
process, which only sends tasks, never does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import beat
from celery.signals import (
    after_setup_logger,
    worker_init,
    worker_process_init,
    worker_shutting_down,
)
from celery.worker import consumer
from celery.worker.consumer.consumer import CONNECTION_ERROR
from celery.worker.state import maybe_shutdown

from models.garbage import collect_less
from tasks import announcements, broadcast, expiry
from tasks.celery_app import NICENESS
from tasks.drainer_policy import worker_state

RETRY_SECONDS = 2.0
"""Seconds between two attempts to reach the broker."""
LOG_EVERY = 60.0
"""Seconds between two log lines about the same outage."""
BROKER = "the broker"
STATE = "Redis or the database"
VERSION = "a newer worker"
_BEAT_ERROR = "Message Error: %s\n%s"
OUTAGES = {
    CONNECTION_ERROR: BROKER,
    "%s (%r)": BROKER,  # the consumer's, with CONNECTION_RETRY
    _BEAT_ERROR: BROKER,
    "beat: Connection error: %s. Trying again in %s seconds...": BROKER,
    broadcast.DRAIN_NOT_REQUESTED: BROKER,
    broadcast.HELD_BACK: VERSION,
    broadcast.NOT_BROADCAST: STATE,
    broadcast.LEASE_NOT_GIVEN_UP: STATE,
    expiry.NOT_EXPIRED: STATE,
    announcements.NOT_ANNOUNCED: STATE,
}
"""Log messages about an outage -> what is missing."""

log = logging.getLogger(consumer.consumer.__name__)
_AGAIN = f"Trying again in {RETRY_SECONDS} s"


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer, but it tries again every two seconds and never gives up. A
    broker that refuses to declare our queue counts as unreachable."""

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
                log.error(CONNECTION_ERROR, conn.as_uri(), error, _AGAIN)  # noqa: TRY400
                _wait()
            else:
                return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """As Celery's, but without a busy loop."""
        super().on_connection_error_before_connected(exc)
        self._wait_if_repeated()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """As Celery's, but without a busy loop: a broker can accept the connection and
        refuse the first command."""
        super().on_connection_error_after_connected(exc)
        self._wait_if_repeated()

    def _wait_if_repeated(self) -> None:
        if time.monotonic() - self._failed_at < RETRY_SECONDS:
            _wait()
        self._failed_at = time.monotonic()


def _wait() -> None:
    """Wait RETRY_SECONDS, or raise as Celery does when the worker is told to stop."""
    until = time.monotonic() + RETRY_SECONDS
    while time.monotonic() < until:
        maybe_shutdown()
        time.sleep(RETRY_SECONDS / 20)


class OutageFilter(logging.Filter):
    """Passes a log line about an outage once a minute, without its traceback. Any other
    line passes unchanged. `messages` maps messages to outages, as OUTAGES does.

    Made before a worker forks its processes, which then share the time of the last
    line.
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
            record.msg, record.args = "%s", record.args[:1]  # without beat's stack
        return True


@after_setup_logger.connect
def _set_up_logging(**_: object) -> None:
    outages = OutageFilter(OUTAGES)
    for logger in (log, beat.logger, announcements.log, broadcast.log, expiry.log):
        logger.addFilter(outages)
    # Tasks come every few seconds, and two lines about each say nothing. Nor does a
    # line about each task that came too late. Failures and our own lines stay.
    for name in ("strategy", "request"):
        logging.getLogger(f"celery.worker.{name}").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@worker_process_init.connect
def _prepare_process(**_: object) -> None:
    collect_less()
    os.nice(NICENESS)


@worker_init.connect
def _count_processes(sender: Any, **_: object) -> None:  # noqa: ANN401 - no types
    # This runs before the fork, so all processes know the number.
    concurrency = sender.concurrency
    worker_state.processes = concurrency if isinstance(concurrency, int) else 1


@worker_shutting_down.connect
def _stop_drainers(**_: object) -> None:
    worker_state.stop()
