"""gunicorn's configuration: `gunicorn -c python:app.server.gunicorn_config wsgi:app`.

Each worker process is a gateway of its own. The hooks start it after the fork, send its
clients away when the worker is told to stop, and let it take leave at the end.

The master reads this before a worker has patched the standard library for gevent: so
nothing is imported here that opens sockets.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from typing import Any

import gevent

from app.server.capacity import Capacity, file_limit_warning, raise_file_limit
from config import settings_or_exit
from models.garbage import collect_less

_settings = settings_or_exit()
raise_file_limit(_settings)

bind = f"0.0.0.0:{_settings.port}"
worker_class = "app.server.worker.Worker"
workers = _settings.web_concurrency
# More than the WebSockets, which the gateway counts: health checks find a place.
worker_connections = Capacity.of(_settings).connections
# What a client sends never changes the route: gunicorn would take SCRIPT_NAME from a
# proxy on this machine, which passes on what its own client has sent.
forwarder_headers = ""
# Only for the `Secure` of the demo's cookie, and only from FORWARDED_ALLOW_IPS.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
# Beyond what accept can take at once, a storm of clients waits here, not in retries.
backlog = 4096
# Drained sockets need CLOSE_WAIT to end; Heroku kills 30 s after SIGTERM.
graceful_timeout = int(_settings.drain_window) + 5
keepalive = 5  # more than 0, which means: on. The worker class bounds it
control_socket_disable = True
errorlog = "-"
loglevel = "info"

FIGURES = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client looks for the folder in which each worker keeps a file of its
figures; any one of them answers /metrics for all."""
WATCH_EVERY = 0.1
"""Seconds between two looks at whether the worker was told to stop."""


def on_starting(server: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """In the master, before any worker: a folder for the figures of this run."""
    if (warning := file_limit_warning(_settings)) is not None:
        server.log.warning(warning)
    os.environ[FIGURES] = tempfile.mkdtemp(prefix="greendot-figures-")


def child_exit(_server: Any, worker: Any) -> None:  # noqa: ANN401
    """In the master, after the end of a worker, however it came: what the worker had
    open is not open any more. What it has counted stays counted."""
    # Late, for the master must not import what opens sockets before it has to.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Any) -> None:  # noqa: ANN401
    """At the end of the master."""
    shutil.rmtree(os.environ[FIGURES], ignore_errors=True)


def post_worker_init(worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """In a fresh worker: start its gateway."""
    gunicorn_log = logging.getLogger("gunicorn.error")
    for name in ("app", "tasks", "models"):
        logger = logging.getLogger(name)
        logger.handlers = gunicorn_log.handlers
        logger.setLevel(gunicorn_log.level)
        logger.propagate = False
    gateway = _gateway(worker)
    gateway.start()
    collect_less()

    def shut_down_when_told() -> None:
        while worker.alive:
            gevent.sleep(WATCH_EVERY)
        gateway.shut_down()

    gevent.spawn(shut_down_when_told)


def worker_exit(_server: Any, worker: Any) -> None:  # noqa: ANN401
    """At the end of a worker: its gateway takes leave."""
    if getattr(worker, "wsgi", None) is not None:
        _gateway(worker).stop()


def _gateway(worker: Any) -> Any:  # noqa: ANN401 - importing its type would be too early
    return worker.wsgi.extensions["greendot"].gateway
