"""gunicorn's logger, with lines in the form of all others and without secrets."""

from __future__ import annotations

import logging
from typing import Any

import gevent
from gunicorn import glogging

from config import settings_or_exit
from models.telemetry.logs import make_formatter

log = logging.getLogger(__name__)


def log_failed_greenlets() -> None:
    """Log the error of a greenlet that nobody waits for. gevent itself would print it,
    with all secrets that it names."""

    def to_log(context: object, *error: Any) -> None:  # noqa: ANN401 - as `exc_info`
        log.error("%r has failed", context, exc_info=error)

    hub: Any = gevent.get_hub()
    hub.print_exception = to_log


class Logger(glogging.Logger):  # type: ignore[misc]
    """Writes gunicorn's error log and, if it is on, its access log.

    gunicorn's own access log has the query string, and with it tickets. The line here
    has the path only.
    """

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Set up the handlers of both logs."""
        super().setup(cfg)
        formatter = make_formatter(settings_or_exit())
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(formatter)

    def access(
        self,
        resp: Any,  # noqa: ANN401
        req: Any,  # noqa: ANN401
        environ: dict[str, Any],
        request_time: Any,  # noqa: ANN401
    ) -> None:
        """Write one line about an answered request."""
        del req
        if not self.access_log_enabled:
            return
        status = resp.status
        fields = {
            "method": environ.get("REQUEST_METHOD"),
            "path": environ.get("PATH_INFO"),
            "code": int(status.split()[0]) if isinstance(status, str) else status,
            "seconds": round(request_time.total_seconds(), 4),
            "bytes": getattr(resp, "sent", None),
            "address": environ.get("REMOTE_ADDR"),
            "agent": environ.get("HTTP_USER_AGENT"),
        }
        self.access_log.info("a request was answered", extra=fields)
