"""The gunicorn worker class: gevent's, but an answer costs less, and no client keeps a
connection for ever that has not become a WebSocket.

gunicorn's own bounds the wait for a request's head, by `keepalive`, and nothing else: a
client that sends no body, or asks for pages and reads none of them, would hold its
greenlet for as long as it likes. Some thousands would take every connection there is.
"""

from __future__ import annotations

import socket
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.server.answer_socket import AnswerSocket
from app.server.capacity import Capacity
from app.server.http_connections import HttpConnections
from config import settings_or_exit

_settings = settings_or_exit()
_TIMEOUT = _settings.handshake_timeout


def _at_hand(config: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Give `config` its settings as plain attributes. It looks each of them up by two
    calls, and serving one request asks for some twenty; a worker's never change."""
    for name, setting in config.settings.items():
        if not hasattr(type(config), name):
            vars(config)[name] = setting.get()


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves HTTP within bounds: `PRESENCE_HANDSHAKE_TIMEOUT` seconds for a whole head,
    for each read of a body, and for each write of an answer."""

    def init_process(self) -> None:
        """Serve until the end of the process."""
        _at_hand(self.cfg)
        self._connections = HttpConnections(
            self.worker_connections, Capacity.of(_settings).http, _TIMEOUT
        )
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:
        """Bounds the wait for a request's whole head, and for what is left of the body
        before it, on a new connection and on a kept one. Its end closes it."""
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
        """Serve one request. The handshake of a WebSocket takes the bound away, and
        the socket: nothing of HTTP follows on it."""

        def hand_over() -> bytes:
            self._connections.upgraded(sock)
            sock.settimeout(None)  # silence is the gateway's matter from here on
            return req.unreader.take_buffered()  # type: ignore[no-any-return]

        sock.settimeout(_TIMEOUT)
        self._connections.served(sock)
        answer = AnswerSocket(sock, hand_over)
        try:
            try:
                super().handle_request(listener_name, req, answer, addr)
            finally:
                answer.flush()
        except TimeoutError:
            # gunicorn's word for: close it. Its log shall not fill with tracebacks.
            raise StopIteration from None
        except StopIteration:
            raise
        except Exception:
            if not answer.is_taken:
                raise
            self.log.exception("an error on a socket that is no HTTP any more")
        finally:
            sock.settimeout(None)
            self._connections.answered(sock)
            # Who asks on at once would be served on at once, and nobody else for tenths
            # of a second: gevent reads what is there without a turn for others.
            gevent.sleep(0)
        if answer.is_taken:
            raise StopIteration
