"""Log lines about changes, on their way from the gateway of the user to the friends."""

from __future__ import annotations

import logging

from models.telemetry import causes


def log_change(
    log: logging.Logger, event: str, change_id: str, cause: str, **fields: object
) -> None:
    """Log what has happened to a change, at the level debug, with further `fields`. If
    there are many changes, first ask whether that level is on."""
    facts: dict[str, object] = {"change": change_id, **causes.log_fields(cause)}
    log.debug(event, extra=facts | fields)
