"""What a check finds: one line that says what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about `subject`, such as `redis`. `advice` is empty if all is well."""

    level: Level
    subject: str
    text: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding as `flask doctor` prints it."""
        advice = f". {self.advice}" if self.advice else ""
        # An error of a library may end with a full stop.
        text = self.text.rstrip(".")
        return f"{self.level:<8} {self.subject}: {text}{advice}"


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Greendot works, but something may surprise."""
    return Finding(Level.WARNING, subject, text, advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Greendot does not work as it should, or is not safe."""
    return Finding(Level.PROBLEM, subject, text, advice)
