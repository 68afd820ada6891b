"""Answers requests that gunicorn cannot read: no HTTP, or a head that is too long.

No route ever sees such a request. gunicorn answers it with a page in HTML. Programs
expect the JSON of all our errors, so `JsonErrorSocket` replaces the page.
"""

from __future__ import annotations

import socket
from typing import Any

import orjson
from werkzeug.exceptions import default_exceptions


class JsonErrorSocket:
    """A client's socket while gunicorn writes its page for `error`. The status stays as
    gunicorn has chosen it."""

    def __init__(self, sock: socket.socket, error: BaseException) -> None:
        self._sock = sock
        self._error = error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a socket
        return getattr(self._sock, name)

    def sendall(self, page: bytes) -> None:
        """Send JSON in place of `page`, which is a whole answer."""
        status_line = page.partition(b"\r\n")[0]
        status = int(status_line.split()[1])
        known = default_exceptions[status]()
        # Of an error of ours the client must not hear details.
        message = str(self._error) if status < 500 else known.description  # noqa: PLR2004
        error = {"code": known.name.lower().replace(" ", "_"), "message": message}
        body = orjson.dumps({"error": error}, option=orjson.OPT_APPEND_NEWLINE)
        head = (
            b"%s\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        self._sock.sendall(head % (status_line, len(body)) + body)
