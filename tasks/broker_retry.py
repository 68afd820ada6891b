"""How a worker and beat wait for a broker that is away: not long between two attempts,
and without filling the log.

Celery waits up to 30 s between attempts and gives up after 100; all of that time nobody
would hear of anybody. It also writes a traceback per beat entry and attempt, and takes
for its own fault what a broker answers that is full, or no primary any more.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery import beat
from celery.worker import consumer
from celery.worker.consumer.consumer import CONNECTION_ERROR
from celery.worker.state import maybe_shutdown

from tasks import announcements, broadcast, expiry
from tasks.outages import OutageFilter

MOST_SECONDS = 2.0
"""Seconds between two attempts to reach the broker, at most."""
BROKER = "the broker"
STATE = "Redis or the database"
VERSION = "a newer worker"
_BEAT_ERROR = "Message Error: %s\n%s"
OUTAGES = {
    CONNECTION_ERROR: BROKER,
    "%s (%r)": BROKER,  # the consumer's, with CONNECTION_RETRY
    _BEAT_ERROR: BROKER,
    "beat: Connection error: %s. Trying again in %s seconds...": BROKER,
    broadcast.NOT_ASKED_FOR: BROKER,
    broadcast.HELD_BACK: VERSION,
    broadcast.NOT_BROADCAST: STATE,
    broadcast.NOT_LEFT: STATE,
    expiry.NOT_EXPIRED: STATE,
    announcements.NOT_ANNOUNCED: STATE,
}
"""The lines that say that something is away."""


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """The worker's consumer, but it tries again every two seconds, for ever. A broker
    that answers, and refuses our queue, is away as well."""

    _failed_at = -MOST_SECONDS

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - Celery has no types
        """Wait until the broker is there, and takes what we write."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=MOST_SECONDS / 4,
            interval_step=MOST_SECONDS / 4,
            interval_max=MOST_SECONDS,
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
        """As Celery's, but it does not try again at once, again and again."""
        super().on_connection_error_before_connected(exc)
        self._calm_down()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The same: a broker that lets us in may refuse what we ask of it."""
        super().on_connection_error_after_connected(exc)
        self._calm_down()

    def _calm_down(self) -> None:
        if time.monotonic() - self._failed_at < MOST_SECONDS:
            _wait()
        self._failed_at = time.monotonic()


log = logging.getLogger(consumer.consumer.__name__)
_AGAIN = f"Trying again in {MOST_SECONDS} s"


def _wait() -> None:
    """Wait, and end where the worker is told to."""
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        maybe_shutdown()
        time.sleep(MOST_SECONDS / 20)


class _BeatFilter(OutageFilter):
    """Beat adds where it is in its own code."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written."""
        passes = super().filter(record)
        if record.msg == _BEAT_ERROR and isinstance(record.args, tuple):
            record.msg, record.args = "%s", record.args[:1]
        return passes


def quieten() -> None:
    """Set the levels and filters of Celery's loggers."""
    outages = _BeatFilter(OUTAGES)
    for logger in (log, beat.logger, announcements.log, broadcast.log, expiry.log):
        logger.addFilter(outages)
    # Two lines per task say nothing where tasks come every few seconds, nor does one
    # per task that came too late; failures and our own lines stay.
    for name in ("strategy", "request"):
        logging.getLogger(f"celery.worker.{name}").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
