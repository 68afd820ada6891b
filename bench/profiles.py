"""What the Python processes of a server spend their time on, by py-spy.

Sampling costs time of the generator's core, and stops the server for each sample:
figures of a run with a profile are not to be quoted. Without a stop (`--nonblocking`) a
busy process changes while it is read: up to half of the samples are lost. If the first
five are lost, py-spy silently leaves that process out.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.machine import cores_for_generator, pinned
from bench.report import RESULTS
from bench.servers import Target

PARTS = ("web", "worker")
RATE = 200
"""Samples a second."""
TOP = 25


class Profile:
    """py-spy on the parts of a target, for some seconds."""

    def __init__(self, target: Target, seconds: int) -> None:
        RESULTS.mkdir(exist_ok=True)
        self._recorders: dict[Path, subprocess.Popen[bytes]] = {}
        for part, pid in target.pids().items():
            if part not in PARTS:
                continue
            raw = RESULTS / f"profile-{target.name}-{part}.txt"
            raw.unlink(missing_ok=True)  # an older one must not pass for this
            with pinned(cores_for_generator()):
                self._recorders[raw] = subprocess.Popen(  # noqa: S603 - py-spy
                    [
                        str(Path(sys.executable).parent / "py-spy"),
                        *("record", "--pid", str(pid), "--subprocesses"),
                        *("--format", "raw", "--rate", str(RATE)),
                        *("--duration", str(seconds), "--output", str(raw)),
                    ],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    def finish(self) -> None:
        """Wait for the end, and print what takes most."""
        for raw, recorder in self._recorders.items():
            recorder.wait()
            if raw.exists():
                print(f"\n{raw.name}\n{summary(raw.read_text(encoding='utf-8'))}")


def summary(raw: str) -> str:
    """The functions with most samples, by themselves and with what they call."""
    own: Counter[str] = Counter()
    with_callees: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [
            _function(frame)
            for frame in stack.split(";")
            if not frame.startswith("process ")
        ]
        if not frames:
            continue
        own[frames[-1]] += int(count)
        for frame in set(frames):
            with_callees[frame] += int(count)
    total = max(1, own.total())
    lines = [f"{total} samples; % alone, then % with callees"]
    for counter in (own, with_callees):
        lines += [
            f"{100 * count / total:6.1f}  {name}"
            for name, count in counter.most_common(TOP)
        ]
        lines.append("")
    return "\n".join(lines)


def _function(frame: str) -> str:
    """Without the line number."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame
