"""How a worker and beat wait for a broker that is away: not long between two attempts,
and without filling the log.

Celery waits up to 30 s between attempts and gives up after 100; all of that time nobody
would hear of anybody. It also writes a traceback per beat entry and attempt.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery import beat
from celery.worker import consumer
from celery.worker.consumer.consumer import CONNECTION_ERROR

from tasks import announcements, broadcast, expiry

MOST_SECONDS = 2.0
"""Seconds between two attempts to reach the broker, at most."""
SAY_EVERY = 60.0
"""Seconds between two lines that say the same."""
_BEAT_ERROR = "Message Error: %s\n%s"
_ABSENCES = {
    CONNECTION_ERROR,
    _BEAT_ERROR,
    announcements.NOT_ANNOUNCED,
    broadcast.HELD_BACK,
    broadcast.NOT_BROADCAST,
    expiry.NOT_EXPIRED,
}


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """The worker's consumer, but it tries again every two seconds, for ever."""

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - Celery has no types
        """Wait until the broker is there."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=MOST_SECONDS / 4,
            interval_step=MOST_SECONDS / 4,
            interval_max=MOST_SECONDS,
        )
        return super().ensure_connected(conn)


class OutageFilter(logging.Filter):
    """Lets a line about the absence of the broker, Redis or the database through once a
    minute, without the traceback; any other line passes as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written."""
        message = str(record.msg)
        if message not in _ABSENCES:
            return True
        now = time.monotonic()
        if now - self._said_at.get(message, -SAY_EVERY) < SAY_EVERY:
            return False
        self._said_at[message] = now
        if message == _BEAT_ERROR and isinstance(record.args, tuple):
            record.msg, record.args = "%s", record.args[:1]
            record.exc_info = None
        return True


def quieten() -> None:
    """Set the levels and filters of Celery's loggers."""
    outages = OutageFilter()
    consumer_logger = logging.getLogger(consumer.consumer.__name__)
    ours = (announcements.log, broadcast.log, expiry.log)
    for logger in (consumer_logger, beat.logger, *ours):
        logger.addFilter(outages)
    # Two lines per task say nothing where tasks come every few seconds, nor does one
    # per task that came too late; failures and our own lines stay.
    for name in ("strategy", "request"):
        logging.getLogger(f"celery.worker.{name}").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
