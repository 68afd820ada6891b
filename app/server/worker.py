"""The gunicorn worker class: gunicorn's own gevent worker with time limits.

gunicorn limits only the wait for the head of a request (`keepalive`). A client that
sends no body, or that reads no answer, could keep its greenlet forever. A few thousand
such clients would take all connections. So `Worker` limits each read and each write. It
also sends each answer in one piece.

When all connections are taken, gunicorn accepts no new client, and even a health check
must wait. So `HttpConnections` keeps a few connections free. When these are taken too,
it closes connections that have waited a while for a request. So a flood of idle
connections does not block other clients for long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from app.server.answer_socket import AnswerSocket, TakenSocket, detached
from app.server.capacity import Capacity
from app.server.unreadable import JsonErrorSocket
from config import settings_or_exit

_settings = settings_or_exit()
_TIMEOUT = _settings.handshake_timeout

FREE_SHARE = 10
"""One in this many HTTP connections is kept free."""
MAY_BE_IDLE = 1.0
"""Seconds that a connection may wait for a request, even if few connections are
free."""
EVERY = 0.1
"""Seconds between two checks while few connections are free."""


class HttpConnections:
    """All connections of one worker. For each connection that is not a WebSocket, this
    stores when the connection began to wait for a request, or when its request began to
    be served."""

    def __init__(self, total: int, http: int, max_serving: float) -> None:
        """At most `total` connections may be open. `http` of them are reserved for
        HTTP. If few connections are free, a request that takes longer than
        `max_serving` seconds may be cut too."""
        self._few_from = total - max(1, http // FREE_SHARE)
        self._max_serving = max_serving
        self._open = 0
        self._waiting: dict[socket.socket, float] = {}
        self._serving: dict[socket.socket, float] = {}
        self._upgraded: set[socket.socket] = set()
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
        """The connection is a WebSocket now. It is open until `web_socket_closed` is
        called."""
        self._serving.pop(sock, None)
        self._upgraded.add(sock)

    def web_socket_closed(self) -> None:
        """A WebSocket has ended."""
        self._open -= 1

    def closed(self, sock: socket.socket) -> None:
        """HTTP on this connection has ended."""
        self._waiting.pop(sock, None)
        self._serving.pop(sock, None)
        if sock in self._upgraded:
            self._upgraded.remove(sock)
        else:
            self._open -= 1

    def _clear(self) -> None:
        try:
            while self._open > self._few_from:
                now = time.monotonic()
                _cut(self._waiting, now - MAY_BE_IDLE, spare=_has_unread)
                _cut(self._serving, now - self._max_serving)
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
    """The system's socket behind gevent's socket. It never waits. If gevent's socket
    were shut down, the greenlet that waits for it would get an error, and gunicorn
    would log it."""
    return sock._sock  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def _cut(
    connections: dict[socket.socket, float],
    before: float,
    spare: Callable[[socket.socket], bool] = lambda _: False,
) -> None:
    """Shut down the `connections` whose time is before `before`, except those for which
    `spare` is true. The greenlet that reads or writes such a socket sees its end."""
    for sock in [sock for sock, since in connections.items() if since < before]:
        if spare(sock):
            continue
        del connections[sock]
        with suppress(OSError):
            _raw(sock).shutdown(socket.SHUT_RDWR)


class Places(Pool):
    """gunicorn's pool of greenlets, one for each connection. A WebSocket needs no
    greenlet, but keeps the place of the greenlet that has answered its handshake. So
    places limit all connections, and gunicorn waits for the last one before it
    exits."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._keepers: set[object] = set()

    def keep(self) -> None:
        """The place of the current greenlet stays taken after its end, until
        `free`."""
        self._keepers.add(gevent.getcurrent())

    def free(self) -> None:
        """Free a place that was kept."""
        self._semaphore.release()  # type: ignore[attr-defined]

    def free_count(self) -> int:
        """How many places are free. At the end of a worker, gunicorn waits until all
        are. gevent's pool would count its greenlets only, so the worker would exit with
        WebSockets that are still to be closed."""
        return int(self._semaphore.counter)  # type: ignore[attr-defined]

    def _discard(self, greenlet: object) -> None:
        """Called at the end of each greenlet. Gevent frees its place here."""
        super()._discard(greenlet)  # type: ignore[misc]
        if greenlet in self._keepers:
            self._keepers.remove(greenlet)
            self._semaphore.acquire(blocking=False)  # type: ignore[attr-defined]


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves HTTP with time limits: `PRESENCE_HANDSHAKE_TIMEOUT` seconds for a whole
    head, for each read of a body, and for each write of an answer.

    After the handshake of a WebSocket, no greenlet and nothing of the request is kept
    for it. Only its place stays taken."""

    def server_class(self, listener: socket.socket, **_others: object) -> Any:  # noqa: ANN401 - gevent's types lack `max_accept`
        """Gunicorn calls this for each listening socket. The only difference from
        gunicorn's own server is that all listening sockets share our places."""
        handle = partial(self.handle, listener)
        server: Any = StreamServer(listener, handle=handle, spawn=self._places)
        if self.cfg.workers > 1:  # leave some of the clients to the other processes
            server.max_accept = 1
        return server

    def init_process(self) -> None:
        """Serve until the end of the process."""
        _make_settings_plain(self.cfg)
        self._places = Places(self.worker_connections)
        self._connections = HttpConnections(
            self.worker_connections, Capacity.of(_settings).http, _TIMEOUT
        )
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:
        """The time limit for the whole head of a request, and for the unread rest of
        the body before it. It is the same for new and for kept-alive connections. When
        the time is over, the connection is closed."""
        return gevent.Timeout(_TIMEOUT, exception=False)  # type: ignore[arg-type]

    def handle(self, listener: object, client: socket.socket, addr: object) -> None:
        """Serve one connection until it ends."""
        self._connections.opened(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._connections.closed(client)

    def handle_error(
        self,
        req: Any,  # noqa: ANN401 - gunicorn has no types
        client: socket.socket,
        addr: object,
        exc: BaseException,
    ) -> None:
        """Answer a request that gunicorn cannot read, or whose serving failed outside
        of Flask."""
        super().handle_error(req, JsonErrorSocket(client, exc), addr, exc)

    def _web_socket_closed(self) -> None:
        self._connections.web_socket_closed()
        self._places.free()

    def handle_request(
        self,
        listener_name: object,
        req: Any,  # noqa: ANN401 - gunicorn has no types
        sock: socket.socket,
        addr: object,
    ) -> None:
        """Serve one request. The handshake of a WebSocket removes the time limit and
        takes the socket. After it there is no more HTTP on this socket."""

        def hand_over() -> TakenSocket:
            self._connections.upgraded(sock)
            self._places.keep()
            received = req.unreader.take_buffered()
            return TakenSocket(detached(sock), received, self._web_socket_closed)

        sock.settimeout(_TIMEOUT)
        self._connections.serving(sock)
        answer = AnswerSocket(sock, hand_over)
        try:
            try:
                super().handle_request(listener_name, req, answer, addr)
            finally:
                answer.flush()
        except TimeoutError:
            # This tells gunicorn to close the connection, without a traceback in the
            # log.
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
            # Yield. If more bytes have arrived, gevent reads them without a switch. So
            # one busy keep-alive client would starve the others for tenths of a second.
            gevent.sleep(0)
        if answer.is_taken:
            raise StopIteration


def _make_settings_plain(config: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Give `config` its settings as plain attributes. gunicorn reads about twenty
    settings per request, each with two calls. A worker's settings never change."""
    for name, setting in config.settings.items():
        if not hasattr(type(config), name):
            vars(config)[name] = setting.get()
