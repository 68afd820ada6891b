"""Runs several commands with one log file, and stops them together: `make run`.

Each command has its own process group. So Ctrl-C reaches only this process. It stops
the commands in order, Redis last, and then kills all processes that are left in each
group.

We tried honcho 2.0, but it leaves processes behind. If a command is killed while its
children still have its output open, honcho does not notice it. The children of gunicorn
and Celery do this. When the terminal is closed (SIGHUP), honcho ends but its commands
continue. On Ctrl-C it stops Redis together with the gateways, before these have
reported their last disconnects.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import IO, Self

_COLOURS = ("36", "33", "32", "35", "34", "31")
_POLL_SECONDS = 0.05
_LAST_LINES = 20
_LAST_SECONDS = 0.5  # to read what a command has written before it ended


def read_procfile(path: Path) -> dict[str, str]:
    """The commands of a Procfile by their names."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): command.strip() for name, command in pairs}


class Stopped(Exception):
    """A signal requested a stop."""


class Ended(Exception):
    """A command ended by itself. `code` is its exit code as a shell shows it."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended (exit code {code})")
        self.name = name
        self.code = code


class Processes:
    """The running commands. As a context manager it stops all of them at the end.

    Create it in the main thread. From then on SIGINT, SIGTERM and SIGHUP request a
    stop, and `wait` reports it. A second signal kills commands that are still stopping.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        stop_seconds: float,
        log: IO[str] | None = None,
    ) -> None:
        """`log` gets all output of the commands. Without it, stdout does."""
        self._environ = dict(environ)
        self._stop_seconds = stop_seconds
        self._log = log
        self._last: defaultdict[str, deque[str]] = defaultdict(
            partial(deque, maxlen=_LAST_LINES)
        )
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        # The command that ended, or None if a stop was requested. A signal handler can
        # safely put items into a SimpleQueue.
        self._events: SimpleQueue[Ended | None] = SimpleQueue()
        self._signals = 0
        self._printing = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup SIGHUP is ignored on purpose, so do not handle it then.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: str, log: IO[bytes] | None = None) -> None:
        """Start the shell `command`. Its output goes to `log`, or to the common log."""
        # With exec the child is the command itself and not a shell. So the command gets
        # our signals, and we get its exit code.
        child = subprocess.Popen(  # noqa: S602  a Procfile has shell lines
            f"exec {command}",
            shell=True,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=log or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        colour = _COLOURS[len(self._children) % len(_COLOURS)]
        self._children[name] = child
        relay = None
        if child.stdout is not None:
            relay = self._thread(self._relay, name, colour, child.stdout)
        self._thread(self._watch, name, child, relay)

    def wait(self) -> Ended:
        """Block until a command ends.

        Raises:
            Stopped: a signal requested a stop first.
        """
        event = self._events.get()
        if event is None:
            raise Stopped
        return event

    def finish(self, name: str, command: str) -> None:
        """Run one command to its end, while the others go on running.

        Raises:
            Ended: this command failed, or another command ended.
            Stopped: a signal requested a stop first.
        """
        self.start(name, command)
        ended = self.wait()
        if ended.name != name or ended.code != 0:
            raise ended
        del self._children[name]

    def stop(self) -> None:
        """Stop all commands. The first one is stopped last, because the others may
        depend on it."""
        first, *others = [*self._children] or [""]
        for names in (others, [first]):
            children = [self._children.pop(name) for name in names if name]
            self._stop(children)

    def say(self, text: str) -> None:
        """Print lines to the terminal, and also to the log file if there is one."""
        self._record(text, "greendot", "1")
        if self._log is not None:
            self._print(f"{text}\n")

    def last_lines(self, name: str) -> str:
        """The end of what a command has written to the log file."""
        with self._printing:
            return "\n".join(self._last[name])

    def _print(self, lines: str) -> None:
        try:
            with self._printing:
                sys.stdout.write(lines)
                sys.stdout.flush()
        except OSError:
            # The terminal or the pipe was closed.
            self._events.put(None)

    def _record(self, text: str, name: str, colour: str) -> None:
        """Add lines to the common log: the file, or else stdout."""
        if self._log is None:
            self._print(_prefixed(text, name, colour))
            return
        with self._printing:
            if not self._log.closed:  # a thread may still read what was written last
                self._log.write(_prefixed(text, name))
                self._log.flush()
                self._last[name].append(text)

    def _stop(self, children: list[subprocess.Popen[bytes]]) -> None:
        # Stop only the first process of each group, which stops its own children.
        # gunicorn then closes its sockets in order.
        for child in children:
            if child.poll() is None:
                child.terminate()
        signals = self._signals
        deadline = time.monotonic() + self._stop_seconds
        while any(child.poll() is None for child in children):
            if time.monotonic() > deadline or self._signals > signals:
                break
            time.sleep(_POLL_SECONDS)
        for child in children:
            _kill_group(child.pid)
            child.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1
        self._events.put(None)

    def _relay(self, name: str, colour: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                text = line.decode(errors="replace").rstrip("\n")
                self._record(text, name, colour)

    def _watch(
        self,
        name: str,
        child: subprocess.Popen[bytes],
        relay: threading.Thread | None,
    ) -> None:
        code = child.wait()
        if relay is not None:  # its children may still have its output open
            relay.join(_LAST_SECONDS)
        self._events.put(Ended(name, code if code >= 0 else 128 - code))

    @staticmethod
    def _thread(target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        return thread


def _prefixed(text: str, name: str, colour: str = "") -> str:
    """`text` with the name of its command before each line."""
    prefix = f"{name:<8} | "
    if colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        prefix = f"\033[{colour}m{prefix}\033[0m"
    return "".join(f"{prefix}{line}\n" for line in text.splitlines() or [""])


def _kill_group(leader: int) -> None:
    # Both errors mean that the whole group has ended. macOS gives the second one for a
    # zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
