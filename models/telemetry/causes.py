"""What has caused a change: a request id, and if there are traces the present span.

A *cause* is one text, `REQUEST_ID` or `REQUEST_ID TRACEPARENT`, where the second part
is the W3C header of that name. It travels with a change: from the request through the
outbox to the broadcast task, and in a gateway message to the delivery. So log lines of
all three have the same `request_id`, and their spans the same trace.

A task that nobody has requested, such as a sweep, has its own id as request id.
"""

from __future__ import annotations

import re
import secrets

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_CAUSE = re.compile(rf"{_REQUEST_ID.pattern}(?: [0-9a-f-]{{55}})?")


def begin_request(given: str | None) -> str:
    """A request or a task begins: from now on all log lines of this greenlet or thread
    have its id. That is the id that the caller has `given`, or a new one if there is
    none, or if it could do harm in a log. Returns the id."""
    is_usable = given is not None and _REQUEST_ID.fullmatch(given)
    request_id = given if given and is_usable else secrets.token_hex(8)
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    return request_id


def end_request() -> None:
    """The request is over: later log lines here do not belong to it."""
    clear_contextvars()


def current_request() -> str:
    """The id of the present request or task. Empty if there is none."""
    found: str = get_contextvars().get("request_id", "")
    return found


def log_fields(cause: str) -> dict[str, str]:
    """The fields of a log line that belong to `cause`."""
    request_id, _, traceparent = cause.partition(" ")
    found = {"request_id": request_id} if request_id else {}
    return found | {"trace_id": traceparent.split("-")[1]} if traceparent else found


def checked(text: str) -> str:
    """`text` if it is a cause, else an empty text. Another program may have written
    it."""
    return text if _CAUSE.fullmatch(text) else ""


def request_id_in(cause: str) -> str:
    """The request id in `cause`."""
    return cause.partition(" ")[0]


def traceparent_in(cause: str) -> str:
    """The span in `cause`. Empty if there are no traces."""
    return cause.partition(" ")[2]


def with_traceparent(cause: str, traceparent: str) -> str:
    """`cause` with another span, or with none."""
    request_id = request_id_in(cause)
    return f"{request_id} {traceparent}" if traceparent and request_id else request_id
