"""Log lines about an outage: one per minute is enough."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Mapping
from multiprocessing.sharedctypes import RawValue

LOG_EVERY = 60.0
"""Seconds between two log lines about the same outage."""
BROKER = "the broker"
BEAT_ERROR = "Message Error: %s\n%s"
"""Celery's text where beat could not send a task. The second value is a traceback."""
OF_BEAT = {
    BEAT_ERROR: BROKER,
    "beat: Connection error: %s. Trying again in %s seconds...": BROKER,
}
"""Log message of beat -> what is unavailable when it is logged."""


class OutageFilter(logging.Filter):
    """Lets a log line about an outage pass once a minute, without its traceback. All
    other lines pass unchanged. `messages` has the form of OF_BEAT.

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
        if record.msg == BEAT_ERROR and isinstance(record.args, tuple):
            record.msg, record.args = "%s", record.args[:1]  # without the traceback
        return True
