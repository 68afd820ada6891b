"""Programs that some tests need, and a summary of the tests that were skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NoReturn

import pytest


def missing(program: str, group: str) -> NoReturn:
    """Skip the test, because `program` is missing.

    CI sets GREENDOT_REQUIRE_<group> to 1. The test fails there.
    """
    if os.environ.get(f"GREENDOT_REQUIRE_{group}") == "1":
        pytest.fail(f"{program} is missing, and GREENDOT_REQUIRE_{group} is set")
    pytest.skip(f"{program} is missing")


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """One line for each reason: how many tests were skipped, and their folders."""
    folders: dict[str, Counter[str]] = {}
    for report in skipped:
        folders.setdefault(_reason(report), Counter())[_folder(report)] += 1
    lines = []
    for reason, counts in sorted(folders.items()):
        where = ", ".join(f"{counts[folder]} in {folder}" for folder in sorted(counts))
        lines.append(f"Skipped, because {reason}: {where}")
    return lines


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # path, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    return "no reason is known"


def _folder(report: pytest.TestReport) -> str:
    """The folder of the test, like `tests/presence`; a file directly in tests/."""
    path = PurePosixPath(report.nodeid.partition("::")[0])
    return str(PurePosixPath(*path.parts[:2]))
