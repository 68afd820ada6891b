"""The opening handshake (RFC 6455, section 4.2), from what the web server has parsed.

flask-sock uses the class `Server` of simple-websocket. `Handshake` replaces it, with
only the methods that flask-sock calls. There are two reasons. `Server` writes the
request out again and lets h11 parse it a second time, which is half the cost of a
handshake. And it starts a reader thread that also writes to the socket.

`Handshake` has no extensions and no subprotocols. It is stricter than wsproto: the key
must be 16 bytes in base64, and a handshake must have no body. tests/test_handshake.py
compares the answers with wsproto's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from simple_websocket import ConnectionClosed
from werkzeug.exceptions import MethodNotAllowed

from app.server.answer_socket import AnswerSocket, TakenSocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_KEY_BYTES = 16
_KEY_LENGTH = 24
"""Characters of the key in base64."""
VERSION = "13"
_HOST = re.compile(r"[^\s,/?#@\\]+")
_HANDSHAKES_ONLY = "this route takes WebSocket handshakes only"


class BadHandshake(ValueError):
    """The request is not a WebSocket handshake."""


class WrongVersion(BadHandshake):
    """The request is a handshake of another version of the protocol."""


class Handshake:
    """A request that may become a WebSocket.

    No extension is accepted: compression would cost up to 300 KB per connection.

    Raises:
        BadHandshake: the request is not a handshake; the message says why.
        MethodNotAllowed: the method is not GET.
    """

    mode = "gunicorn"  # flask-sock reads this

    def __init__(self, environ: dict[str, Any], **_options: object) -> None:
        self._accept = _accept_key(environ)
        answer = environ.get("gunicorn.socket")
        if not isinstance(answer, AnswerSocket):
            message = "WebSockets need app.server.worker.Worker"
            raise TypeError(message)
        self._answer = answer

    def accept(self, request_id: str = "") -> TakenSocket:
        """Answer with 101, and with `request_id` in a header if there is one. Take the
        socket from the web server.

        Raises:
            BadHandshake: the client has disconnected, or does not read.
        """
        named = f"\r\nX-Request-ID: {request_id}".encode() if request_id else b""
        try:
            return self._answer.take(_SWITCHING + self._accept + named + b"\r\n\r\n")
        except OSError as error:
            message = "the client has disconnected"
            raise BadHandshake(message) from error

    def close(self) -> None:
        """flask-sock calls this when the route returns. The socket was taken then."""
        raise ConnectionClosed


def _accept_key(environ: dict[str, Any]) -> bytes:
    if environ["REQUEST_METHOD"] != "GET":
        raise MethodNotAllowed(valid_methods=["GET"])
    # HTTP/1.0 has no Upgrade. The sender may be a proxy that cannot pass it on.
    if environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        message = "a WebSocket handshake is HTTP/1.1"
        raise BadHandshake(message)
    if not _HOST.fullmatch(environ.get("HTTP_HOST", "")):
        message = "the Host header is missing, or is not a host"
        raise BadHandshake(message)
    if not (
        _has_token(environ.get("HTTP_UPGRADE", ""), "websocket")
        and _has_token(environ.get("HTTP_CONNECTION", ""), "upgrade")
    ):
        raise BadHandshake(_HANDSHAKES_ONLY)
    if environ.get("CONTENT_LENGTH", "0").strip("0") or (
        "HTTP_TRANSFER_ENCODING" in environ
    ):
        message = "a WebSocket handshake has no body"
        raise BadHandshake(message)
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
    if version != VERSION:
        message = f"Sec-WebSocket-Version has to be {VERSION}"
        raise BadHandshake(message) if version is None else WrongVersion(message)
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").encode("latin-1")
    try:
        is_key = (
            len(key) == _KEY_LENGTH
            and len(base64.b64decode(key, validate=True)) == _KEY_BYTES
        )
    except binascii.Error:
        is_key = False
    if not is_key:
        message = "Sec-WebSocket-Key has to be 16 bytes in base64"
        raise BadHandshake(message)
    # The protocol requires SHA-1. Nothing here depends on its strength.
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def _has_token(header: str, token: str) -> bool:
    """Whether the comma-separated list `header` contains `token`."""
    return token in (part.strip() for part in header.lower().split(","))
