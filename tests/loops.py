"""An event loop for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in a thread of its own: Playwright keeps a loop running in the
    main thread from the first test with a browser on."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()
