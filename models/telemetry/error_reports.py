"""Error reports to Sentry, if `SENTRY_DSN` is set. They need requirements-otel.txt."""

from __future__ import annotations

import sys
from typing import Any

from config import Settings
from models.telemetry import causes
from models.telemetry.redaction import Redact, redact_all, redactor, secrets_of

_SECRET_PARTS = ("cookies", "data", "env", "query_string")
"""Parts of a request that are left out of a report."""
_HEADERS = frozenset({"content-type", "host", "user-agent", "x-request-id"})
"""Headers that a report may have."""


def start(settings: Settings) -> None:
    """Report uncaught errors, and errors in the log, of this process and of those that
    it forks."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # noqa: PLC0415
    from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.flask import FlaskIntegration  # noqa: PLC0415

    redact = redactor({*secrets_of(settings), settings.sentry_dsn})
    sentry_sdk.init(
        settings.sentry_dsn,
        # Only these: others would wrap each call of Redis and each query.
        default_integrations=True,
        auto_enabling_integrations=False,
        integrations=[FlaskIntegration(), CeleryIntegration(propagate_traces=False)],
        send_default_pii=False,
        # A local variable may be a token, and so may a part of a body.
        include_local_variables=False,
        max_request_body_size="never",
        auto_session_tracking=False,
        before_send=lambda event, _hint: _scrubbed(event, redact),
        before_breadcrumb=lambda crumb, _hint: redact_all(redact, crumb),
    )


def start_sender() -> None:
    """Start the thread that sends reports, for a web process. The first error may come
    in gevent's event loop, which cannot wait for the start of a thread."""
    if sentry_sdk := sys.modules.get("sentry_sdk"):
        sentry_sdk.get_client().transport._worker.start()  # noqa: SLF001


def _scrubbed(event: Any, redact: Redact) -> Any:  # noqa: ANN401 - Sentry's own JSON
    """`event` without secrets, and with the id of the request or task."""
    if request_id := causes.current_request():
        event.setdefault("tags", {})["request_id"] = request_id
    if request := event.get("request"):
        for part in _SECRET_PARTS:
            request.pop(part, None)
        headers = request.get("headers", {})
        request["headers"] = {
            name: value for name, value in headers.items() if name.lower() in _HEADERS
        }
    return redact_all(redact, event)
