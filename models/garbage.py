"""Fewer runs of Python's garbage collector in long-running processes."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 20)
"""Python's defaults are 700, 10, 10. Nearly all our objects are freed by their
reference count. A gateway holds about 40 objects per connection, and a full collection
visits all of them. That took a tenth of its time and most of its p99
(`python -m bench throughput`)."""


def collect_less() -> None:
    """Collect less often, and never look at the present objects again. Call it when all
    modules are loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
