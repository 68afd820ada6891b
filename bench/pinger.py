"""Asks a Valkey for PONG again and again, and tells the longest wait of each phase.

A process of its own: whoever drives the scripts could not tell the server's pauses from
its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Self

import redis

from bench.machine import cores_for_generator, pinned
from config import PROJECT_ROOT

PAUSE = 0.0005


class Pinger:
    """A running pinger. A context manager."""

    def __init__(self, url: str) -> None:
        with pinned(cores_for_generator()):
            self._process = subprocess.Popen(  # noqa: S603 - this very module
                [sys.executable, "-m", "bench.pinger", url],
                cwd=PROJECT_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )

    def __enter__(self) -> Self:
        self.longest_ms()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def longest_ms(self) -> float:
        """The longest wait since the last call."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write("\n")
        return float(self._process.stdout.readline())


def _main() -> None:
    # It shares its core with the driver, and must not wait for it.
    with suppress(PermissionError):
        os.nice(-15)
    longest = [0.0]

    def answer() -> None:
        for _ in sys.stdin:
            print(longest[0] * 1000, flush=True)
            longest[0] = 0.0

    threading.Thread(target=answer, daemon=True).start()
    client = redis.Redis.from_url(sys.argv[1])
    while True:
        start = time.perf_counter()
        client.ping()
        longest[0] = max(longest[0], time.perf_counter() - start)
        time.sleep(PAUSE)


if __name__ == "__main__":
    _main()
