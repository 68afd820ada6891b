"""The command `flask sync`: makes the graph what the files of the host say.

`models.sql.sync` decides what has to change. Here each step is committed and announced,
as for a bulk call of the host. The command is a process of its own with a lower
priority, and pauses after each step, so that gateways are not held up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.announce import commit_and_announce
from app.services import services
from models.sql.db import is_unavailable
from models.sql.sync import Changes, Step, SyncPlan, plan_sync, steps
from models.sql.sync_files import Pair, read_files
from tasks.celery_app import NICENESS

ATTEMPTS = 5
"""How often a step is tried while the database is locked or does not answer."""
RETRY_AFTER = 1.0
"""Seconds between two attempts."""
PAUSE = 0.1
"""After each step: a pause of this share of its time, in which others get the lock of
the database."""
MAX_SHOWN = 1_000
"""The most bad rows that are shown."""


def make_plan(folder: Path) -> SyncPlan:
    """What has to change. Changes nothing.

    Raises:
        ImportFailed: a file cannot be read.
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    files = read_files(folder)
    with services().database.connect() as reader:
        return plan_sync(reader, files)


def too_many_deletes(plan: SyncPlan, allowed: float) -> Iterator[str]:
    """For each kind of which more than `allowed` per cent would be deleted: one line
    that says so."""
    for name, changes in plan.kinds.items():
        deletes = len(changes.deletes)
        share = 100 * deletes / max(1, changes.stored)
        if share > allowed:
            yield f"{deletes:,} of {changes.stored:,} {name} ({share:.4g} %)"


def apply(plan: SyncPlan, advance: Callable[[int], object]) -> None:
    """Make all changes, and call `advance` with the number of rows after each step.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down. The steps before are done.
    """
    for step in steps(plan):
        started = time.monotonic()
        _apply_step(step)
        time.sleep(PAUSE * (time.monotonic() - started))
        advance(step.rows)


def _apply_step(step: Step) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with services().sessions() as session:
                change = step.write(session)
                commit_and_announce(session, change, step.disconnects)
        except SQLAlchemyError as error:
            if attempt == ATTEMPTS or not is_unavailable(error):
                raise
            time.sleep(RETRY_AFTER)
        else:
            return


def summary(plan: SyncPlan) -> Iterator[str]:
    """What has to change, as the lines of a table, and what is left alone."""
    row = "{:<14}{:>10}{:>10}{:>10}".format
    yield row("", "create", "update", "delete")
    for name, changes in plan.kinds.items():
        sizes = (changes.creates, changes.updates, changes.deletes)
        yield row(name, *(f"{len(one):,}" for one in sizes))
    for name, changes in plan.kinds.items():
        if changes.held_back:
            yield _held_back(name, changes)
    if plan.blocked:
        yield f"{plan.blocked:,} listed friendships are blocked and left alone"


def _held_back(name: str, changes: Changes[str] | Changes[Pair]) -> str:
    return (
        f"{changes.held_back:,} {name} are not deleted, because {name}.csv has rows "
        f"that cannot be read"
    )


def bad_rows(plan: SyncPlan) -> Iterator[str]:
    """The rows that are left out, one line each."""
    for error in plan.bad_rows[:MAX_SHOWN]:
        yield str(error)
    if (more := len(plan.bad_rows) - MAX_SHOWN) > 0:
        yield f"and {more:,} more bad rows"


def step_back() -> None:
    """Lower the priority of this process: gateways on the same machine run first."""
    if hasattr(os, "setpriority"):
        os.setpriority(
            os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        )
