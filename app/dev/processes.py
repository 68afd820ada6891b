"""Runs several commands at once: one log, one end.

This is how `make run` runs the lines of the Procfile. Each command leads a process
group of its own, so that Ctrl-C reaches this process only, which then stops them in
order and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import IO, Self

_COLOURS = ("36", "33", "32", "35", "34", "31")
_POLL_SECONDS = 0.05


def read_procfile(path: Path) -> dict[str, str]:
    """The commands of a Procfile by their names."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): command.strip() for name, command in pairs}


class Stopped(Exception):
    """A signal asked for a stop."""


class Ended(Exception):
    """A command ended by itself; `code` is its exit code as a shell shows it."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended (exit code {code})")
        self.name = name
        self.code = code


class Processes:
    """The commands that run now. A context manager: its end stops them all.

    From its making on, SIGINT, SIGTERM and SIGHUP ask for a stop, which `wait` reports;
    a second one, while the commands stop, kills them. Make it in the main thread.
    """

    def __init__(self, environ: Mapping[str, str], stop_seconds: float) -> None:
        self._environ = dict(environ)
        self._stop_seconds = stop_seconds
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        # What ended, or None for "a stop was asked for". A SimpleQueue may be put to
        # in a signal handler.
        self._events: SimpleQueue[Ended | None] = SimpleQueue()
        self._signals = 0
        self._printing = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP on purpose: leave that.
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
        """Start `command` by the shell; its output goes to `log`, else to stdout."""
        # exec: the child is the command itself, so signals and exit code are its own.
        child = subprocess.Popen(  # noqa: S602  the Procfile's lines are shell lines
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
        if child.stdout is not None:
            self._thread(self._relay, name, colour, child.stdout)
        self._thread(self._watch, name, child)

    def wait(self) -> Ended:
        """Block until a command ends.

        Raises:
            Stopped: a signal asked for a stop first.
        """
        event = self._events.get()
        if event is None:
            raise Stopped
        return event

    def finish(self, name: str, command: str) -> None:
        """Run one command to its good end, beside those that run.

        Raises:
            Ended: it failed, or another command ended meanwhile.
            Stopped: a signal asked for a stop first.
        """
        self.start(name, command)
        ended = self.wait()
        if ended.name != name or ended.code != 0:
            raise ended
        del self._children[name]

    def stop(self) -> None:
        """Stop every command, the first one last: the others may lean on it."""
        first, *others = [*self._children] or [""]
        for names in (others, [first]):
            children = [self._children.pop(name) for name in names if name]
            self._stop(children)

    def say(self, text: str, name: str = "greendot", colour: str = "1") -> None:
        """Print lines into the common log, under a name."""
        prefix = f"{name:<8} | "
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            prefix = f"\033[{colour}m{prefix}\033[0m"
        lines = "".join(f"{prefix}{line}\n" for line in text.splitlines())
        try:
            with self._printing:
                sys.stdout.write(lines)
                sys.stdout.flush()
        except OSError:
            # Nobody reads any more: the terminal was closed, or the pipe.
            self._events.put(None)

    def _stop(self, children: list[subprocess.Popen[bytes]]) -> None:
        # The leaders know how to end their own: gunicorn closes sockets in order.
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
                self.say(line.decode(errors="replace"), name, colour)

    def _watch(self, name: str, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        self._events.put(Ended(name, code if code >= 0 else 128 - code))

    @staticmethod
    def _thread(target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()


def _kill_group(leader: int) -> None:
    # Both say that the whole group is gone; macOS says the latter of a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
