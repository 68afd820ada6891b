"""How often Python looks for garbage in a process that serves for long."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 20)
"""In place of 700, 10, 10. Nearly all that we make is freed by its reference count, and
a gateway holds some 40 objects for each connection, which a full collection visits.
That took a tenth of its time, and most of its p99 (`python -m bench throughput`)."""


def collect_less() -> None:
    """Call it once all is loaded: what is there stays, and need never be looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
