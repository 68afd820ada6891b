"""The gunicorn worker class, beside gunicorn's own gevent worker.

gunicorn bounds the wait for the head of a request, by `keepalive`, and nothing else. A
client that sends no body, or requests pages and reads none of them, would hold its
greenlet for as long as it likes. A few thousand such clients would take every
connection. `Worker` bounds each read and each write, and sends an answer in one piece.

While all connections are taken, gunicorn accepts no client, and a health check would
wait. `HttpConnections` therefore keeps a few free. When those are taken, it closes
connections that have waited a while for a request. So a flood of idle connections does
not keep other clients out for long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.server.answer_socket import AnswerSocket
from app.server.capacity import Capacity
from config import settings_or_exit

_settings = settings_or_exit()
_TIMEOUT = _settings.handshake_timeout

FREE_SHARE = 10
"""One in ten of the HTTP connections is kept free."""
MAY_BE_IDLE = 1.0
"""Seconds that a connection may wait for a request, even when few are free."""
EVERY = 0.1
"""Seconds between two checks while few are free."""


class HttpConnections:
    """All connections of one worker. Those that are not WebSockets are tracked one by
    one: since when each has waited for a request, or has been served."""

    def __init__(self, most: int, http: int, most_serving: float) -> None:
        """At most `most` connections may be open; `http` of them are never WebSockets.
        A request served for longer than `most_serving` seconds may be cut too."""
        self._few_from = most - max(1, http // FREE_SHARE)
        self._most_serving = most_serving
        self._open = 0
        self._waiting: dict[socket.socket, float] = {}
        self._serving: dict[socket.socket, float] = {}
        self._clearing: gevent.Greenlet[..., None] | None = None

    def opened(self, sock: socket.socket) -> None:
        """A client has connected."""
        self._open += 1
        self._waiting[sock] = time.monotonic()
        if self._open > self._few_from and self._clearing is None:
            self._clearing = gevent.spawn(self._clear)

    def serving(self, sock: socket.socket) -> None:
        """A request has been read."""
        self._waiting.pop(sock, None)
        self._serving[sock] = time.monotonic()

    def answered(self, sock: socket.socket) -> None:
        """The request was answered. Another may follow."""
        if self._serving.pop(sock, None) is not None:
            self._waiting[sock] = time.monotonic()

    def upgraded(self, sock: socket.socket) -> None:
        """It is a WebSocket now, and the gateway's responsibility."""
        self._serving.pop(sock, None)

    def closed(self, sock: socket.socket) -> None:
        """It has ended."""
        self._open -= 1
        self._waiting.pop(sock, None)
        self._serving.pop(sock, None)

    def _clear(self) -> None:
        try:
            while self._open > self._few_from:
                now = time.monotonic()
                _cut(self._waiting, now - MAY_BE_IDLE, spare=_has_unread)
                _cut(self._serving, now - self._most_serving)
                gevent.sleep(EVERY)
        finally:
            self._clearing = None


def _has_unread(sock: socket.socket) -> bool:
    """Whether bytes have arrived that this busy process has not read yet."""
    try:
        return bool(_raw(sock).recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _raw(sock: socket.socket) -> socket.socket:
    """The system's socket behind gevent's; it never waits. Ending gevent's would raise
    in the greenlet that waits for it, and gunicorn would log that."""
    return sock._sock  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def _cut(
    connections: dict[socket.socket, float],
    before: float,
    spare: Callable[[socket.socket], bool] = lambda _: False,
) -> None:
    """Shut down those of `connections` that are older than `before`. The greenlet that
    reads or writes such a socket sees its end."""
    for sock in [sock for sock, since in connections.items() if since < before]:
        if spare(sock):
            continue
        del connections[sock]
        with suppress(OSError):
            _raw(sock).shutdown(socket.SHUT_RDWR)


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves HTTP within bounds: `PRESENCE_HANDSHAKE_TIMEOUT` seconds for a whole head,
    for each read of a body, and for each write of an answer."""

    def init_process(self) -> None:
        """Serve until the end of the process."""
        _make_settings_plain(self.cfg)
        self._connections = HttpConnections(
            self.worker_connections, Capacity.of(_settings).http, _TIMEOUT
        )
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:
        """The bound of the wait for a request's whole head, and for the rest of the
        body before it, on new and on kept connections. At its end the connection
        closes."""
        return gevent.Timeout(_TIMEOUT, exception=False)  # type: ignore[arg-type]

    def handle(self, listener: object, client: socket.socket, addr: object) -> None:
        """Serve one connection to its end."""
        self._connections.opened(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._connections.closed(client)

    def handle_request(
        self,
        listener_name: object,
        req: Any,  # noqa: ANN401 - gunicorn has no types
        sock: socket.socket,
        addr: object,
    ) -> None:
        """Serve one request. The handshake of a WebSocket removes the bound and takes
        the socket: no HTTP follows on it."""

        def hand_over() -> bytes:
            self._connections.upgraded(sock)
            sock.settimeout(None)  # from here on, silence is the gateway's matter
            return req.unreader.take_buffered()  # type: ignore[no-any-return]

        sock.settimeout(_TIMEOUT)
        self._connections.serving(sock)
        answer = AnswerSocket(sock, hand_over)
        try:
            try:
                super().handle_request(listener_name, req, answer, addr)
            finally:
                answer.flush()
        except TimeoutError:
            # gunicorn's word for "close it". A traceback would only fill its log.
            raise StopIteration from None
        except StopIteration:
            raise
        except Exception:
            if not answer.is_taken:
                raise
            self.log.exception("an error on a socket that no longer speaks HTTP")
        finally:
            sock.settimeout(None)
            self._connections.answered(sock)
            # Yield, or one busy keep-alive client starves the others for tenths of a
            # second: gevent reads what has arrived without switching to them.
            gevent.sleep(0)
        if answer.is_taken:
            raise StopIteration


def _make_settings_plain(config: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Give `config` its settings as plain attributes. gunicorn looks each of them up by
    two calls, some twenty times per request, and a worker's settings never change."""
    for name, setting in config.settings.items():
        if not hasattr(type(config), name):
            vars(config)[name] = setting.get()
