"""Celery imports this module first, in a worker and in beat. It sets up their log.

Beat only sends the names of tasks, so it does not import the tasks. This saves memory.
A worker gets them with `tasks.worker`.
"""

from __future__ import annotations

import importlib
import logging
import signal
from logging.handlers import WatchedFileHandler
from typing import NoReturn

from celery import beat
from celery.signals import beat_init, celeryd_init, setup_logging

from models.telemetry import error_reports, logs
from tasks.celery_app import current_settings
from tasks.outage_log import OF_BEAT, OutageFilter

log = logging.getLogger(__name__)


@celeryd_init.connect
def _begin_worker(**_: object) -> None:
    """Configure the log here, because warnings may be logged before Celery sets up its
    own. Sentry must be there before the fork: it changes how Celery calls tasks."""
    logs.configure(current_settings())
    error_reports.start(current_settings())
    importlib.import_module("tasks.worker")


@setup_logging.connect
def _set_up_logging(loglevel: int, logfile: str | None, **_: object) -> None:
    """Replaces Celery's own log. `loglevel`, for Celery's own lines, and `logfile` are
    options of its command."""
    handlers = [WatchedFileHandler(logfile)] if logfile else []
    logs.configure(current_settings(), handlers)
    logging.getLogger("celery").setLevel(loglevel)
    # Celery writes two lines about each task, and one about each expired task. Tasks
    # come every few seconds, so these lines say nothing. Failures and our own lines are
    # still logged.
    for name in ("strategy", "request"):
        logging.getLogger(f"celery.worker.{name}").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@beat_init.connect
def _begin_beat(sender: beat.Service, **_: object) -> None:
    """`sender` is about to send its first tasks."""

    def stop(*_: object) -> NoReturn:
        # Celery's own handler only raises. Python ignores what is raised in a
        # destructor or in a callback of the garbage collector, and beat would go on.
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    beat.logger.addFilter(OutageFilter(OF_BEAT))
    log.info(
        "beat has started. Sweeps run every %g s", current_settings().sweep_interval
    )
