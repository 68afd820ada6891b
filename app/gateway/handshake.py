"""The opening handshake (RFC 6455, section 4.2), from what the web server has parsed.

simple-websocket writes the request out again and has h11 parse it a second time, which
is half the cost of a handshake; and it starts a reader thread that we do not want. This
class stands in for its `Server` under flask-sock, with as much of it as flask-sock
uses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import socket
from typing import Any

from simple_websocket import ConnectionClosed

from app.answer_socket import send_whole

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_KEY_BYTES = 16
HANDSHAKES_ONLY = "this route takes WebSocket handshakes only"
_VERSION = "13"
_SOCKETS = {"gunicorn.socket": "gunicorn", "werkzeug.socket": "werkzeug"}


class BadHandshake(ValueError):
    """The request is no WebSocket handshake, or one of another version."""


class AcceptedSocket:
    """A socket whose handshake has been answered.

    No extension is ever accepted: compression would cost up to 300 KB per connection.

    Raises:
        BadHandshake: nothing was written, so the request can be answered with 400.
    """

    def __init__(self, environ: dict[str, Any], **_options: object) -> None:
        accept = _accept_key(environ)
        self.sock: socket.socket
        self.sock, self.mode = _socket_of(environ)
        self.connected = True
        try:
            send_whole(self.sock, _SWITCHING + accept + b"\r\n\r\n")
            self.sock.settimeout(None)  # silence is the gateway's matter from here on
        except OSError as error:
            message = "the client has gone away"
            raise BadHandshake(message) from error

    def close(self) -> None:
        """What flask-sock calls at the end: our `Connection` has closed already."""
        raise ConnectionClosed


def _accept_key(environ: dict[str, Any]) -> bytes:
    upgrade = environ.get("HTTP_UPGRADE", "").lower()
    connection = environ.get("HTTP_CONNECTION", "").lower()
    if upgrade != "websocket" or "upgrade" not in connection:
        raise BadHandshake(HANDSHAKES_ONLY)
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != _VERSION:
        message = f"Sec-WebSocket-Version has to be {_VERSION}"
        raise BadHandshake(message)
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip().encode("latin-1")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        is_key = False
    if not is_key:
        message = "Sec-WebSocket-Key has to be 16 bytes in base64"
        raise BadHandshake(message)
    # SHA-1 is what the protocol names; nothing here rests on its strength.
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def _socket_of(environ: dict[str, Any]) -> tuple[socket.socket, str]:
    for name, mode in _SOCKETS.items():
        if name in environ:
            return environ[name], mode
    message = f"this web server shows no socket: one of {', '.join(_SOCKETS)}"
    raise RuntimeError(message)
