"""How many lines an outage is worth in the log: one a minute, from all processes of a
worker together, and none of them with a traceback.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Mapping
from multiprocessing.sharedctypes import RawValue

SAY_EVERY = 60.0
"""Seconds between two lines about the same outage."""


class OutageFilter(logging.Filter):
    """Lets a line about an outage through once a minute, without its traceback; any
    other line passes as it is. `messages` says which lines are about which outage.

    Made before a worker forks its processes: they share what has been said.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__()
        said_at = {what: RawValue(ctypes.c_double) for what in messages.values()}
        self._said_at = {message: said_at[what] for message, what in messages.items()}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written."""
        said_at = self._said_at.get(str(record.msg))
        if said_at is None:
            return True
        now = time.monotonic()
        if said_at.value and now - said_at.value < SAY_EVERY:
            return False
        said_at.value = now
        record.exc_info = None
        return True
