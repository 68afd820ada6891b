"""The form of every log line: text for people, or JSON (`LOG_FORMAT=json`).

All code logs with Python's `logging`. structlog makes the lines, for our own loggers
and for those of gunicorn, Celery and other libraries. So every process writes lines of
one form. Facts that programs read go into `extra`, under a name in FIELDS:

    log.info("a connection has ended", extra={"user_id": "ada"})
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from structlog.contextvars import merge_contextvars
from structlog.processors import format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from config import Settings
from models.telemetry.redaction import redactor, secrets_of

OURS = ("app", "tasks", "models")
"""The loggers of Greendot itself. `LOG_LEVEL` is their level."""
FIELDS = (
    "change",
    "status",
    "viewer",
    "user_id",
    "method",
    "path",
    "code",
    "reason",
    "seconds",
    "frames",
    "heartbeats",
    "bytes",
    "address",
    "agent",
    "gateway",
    "connection_id",
    "request_id",
    "trace_id",
)
"""What `extra` may add to a line, in this order. Other libraries put objects of theirs
there too."""
_WORD = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\U0010ffff]+')


def make_formatter(settings: Settings) -> logging.Formatter:
    """The formatter of all handlers."""
    redact = redactor(secrets_of(settings))
    as_line = _json if settings.log_format == "json" else _text

    def render(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> str:
        return redact(as_line(event_dict))

    return ProcessorFormatter(
        foreign_pre_chain=[ExtraAdder(allow=FIELDS), merge_contextvars],
        processors=[format_exc_info, render],
    )


def configure(settings: Settings, handlers: Sequence[logging.Handler] = ()) -> None:
    """Use the format of `settings` for all lines. Our loggers use its level, other
    libraries log from WARNING. Lines go to `handlers`, or to stderr if there are
    none."""
    root = logging.getLogger()
    root.handlers = list(handlers) or [logging.StreamHandler()]
    formatter = make_formatter(settings)
    for handler in root.handlers:
        handler.setFormatter(formatter)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)


def _text(event_dict: EventDict) -> str:
    """`[TIME] [PROCESS] [LEVEL] event name=value ...`, and then the traceback."""
    record: logging.LogRecord = event_dict.pop("_record")
    del event_dict["_from_structlog"]
    event, traceback = event_dict.pop("event"), event_dict.pop("exception", None)
    if "\n" in event:  # a line stays one line
        event = " ".join(event.split())
    now = datetime.fromtimestamp(record.created, UTC)
    line = f"[{now:%Y-%m-%d %H:%M:%S} +0000] [{record.process}] [{record.levelname}]"
    line = f"{line} {event}"
    if event_dict:
        pairs = [f"{name}={_value(value)}" for name, value in event_dict.items()]
        line = f"{line} {' '.join(pairs)}"
    return line if traceback is None else f"{line}\n{traceback}"


def _value(value: object) -> str:
    """`value` as one word. Clients choose some values, and must not end the line."""
    text = str(value)
    return text if _WORD.fullmatch(text) else json.dumps(text)


def _json(event_dict: EventDict) -> str:
    record: logging.LogRecord = event_dict.pop("_record")
    del event_dict["_from_structlog"]
    now = datetime.fromtimestamp(record.created, UTC)
    line = {
        "timestamp": now.isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "event": event_dict.pop("event"),
        "logger": record.name,
        "process": record.process,
        **event_dict,
    }
    text = orjson.dumps(line, default=str).decode()
    # Some programs treat U+0085, U+2028 and U+2029 as line ends. So escape everything
    # beyond ASCII.
    return text if text.isascii() else json.dumps(line, default=str)
