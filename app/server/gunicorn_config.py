"""gunicorn's configuration: `gunicorn -c python:app.server.gunicorn_config wsgi:app`.

Each worker process is a gateway. The hooks start the gateway after the fork. When the
worker is told to stop, they close the gateway's connections, and then stop the gateway.

The master reads this module before a worker has patched the standard library for
gevent. So this module imports nothing that opens sockets.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from typing import Any

import gevent

from app.server.addresses import demo_refusal
from app.server.capacity import Capacity, file_limit_warning, raise_file_limit
from app.server.logger import log_failed_greenlets
from config import refuse_to_start, settings_or_exit
from models.garbage import collect_less
from models.telemetry import error_reports, logs, traces

_settings = settings_or_exit()
raise_file_limit(_settings)

bind = f"0.0.0.0:{_settings.port}"
worker_class = "app.server.worker.Worker"
workers = _settings.web_concurrency
# This is more than the number of WebSockets, because HTTP has reserved connections. The
# gateway itself limits the WebSockets.
worker_connections = Capacity.of(_settings).connections
# A client's headers must not change the route. gunicorn would accept SCRIPT_NAME from a
# proxy on this machine, although the proxy may have got it from a client.
forwarder_headers = ""
# Used only for the `Secure` of the demo's cookie, and only from FORWARDED_ALLOW_IPS.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
# In a reconnect storm clients wait here. If the queue were full, they would have to
# retry.
backlog = 4096
# Closed sockets need CLOSE_WAIT to end. Heroku kills a process 30 s after SIGTERM.
graceful_timeout = int(_settings.drain_window) + 5
keepalive = 5  # any number above 0 means on; the worker class limits the wait
control_socket_disable = True
errorlog = "-"
logger_class = "app.server.logger.Logger"
loglevel = "info"

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that tells prometheus-client the folder of its files. Each
worker writes its metrics into a file there. So any worker can answer /metrics for all
of them."""
WATCH_EVERY = 0.1
"""Seconds between two checks whether the worker was told to stop."""


def on_starting(server: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """In the master, before any worker: check the address, and make a folder for the
    metrics of this run."""
    if (refusal := demo_refusal(_settings, server.address)) is not None:
        refuse_to_start(refusal)
    if (warning := file_limit_warning(_settings)) is not None:
        server.log.warning(warning)
    os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="greendot-metrics-")


def child_exit(_server: Any, worker: Any) -> None:  # noqa: ANN401
    """In the master, after the end of a worker: remove the worker's gauges. Its
    counters stay."""
    # Imported here: at its start the master must not import what opens sockets.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Any) -> None:  # noqa: ANN401
    """At the end of the master: remove the folder of the metrics."""
    shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)


def post_worker_init(worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """In a fresh worker: start its gateway."""
    logs.configure(_settings, logging.getLogger("gunicorn.error").handlers)
    log_failed_greenlets()
    error_reports.start(_settings)
    error_reports.start_sender()
    traces.start(_settings)
    gateway = _gateway(worker)
    gateway.start()
    collect_less()

    def shut_down_when_told() -> None:
        while worker.alive:
            gevent.sleep(WATCH_EVERY)
        gateway.shut_down()

    gevent.spawn(shut_down_when_told)


def worker_exit(_server: Any, worker: Any) -> None:  # noqa: ANN401
    """At the end of a worker: stop its gateway."""
    if getattr(worker, "wsgi", None) is not None:
        _gateway(worker).stop()
        traces.stop()


def _gateway(worker: Any) -> Any:  # noqa: ANN401 - its type must not be imported here
    return worker.wsgi.extensions["greendot"].gateway
