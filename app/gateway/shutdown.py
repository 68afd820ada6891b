"""A planned shutdown that no friend notices: clients reconnect before they are closed.

If all sockets were closed at once, all clients would return at once. So each client has
its own moment in the drain window. It gets `going_away` at that moment and is closed a
second later. A client that were closed early and told to return late would be offline
in between.
"""

from __future__ import annotations

import logging
import random

import gevent

from app.gateway.client_connection import ClientConnection
from app.gateway.hub import Hub
from app.websocket.frames import text_frame
from models import events
from models.events import CloseCode

log = logging.getLogger(__name__)

CLOSING_SHARE = 0.8
"""The part of the window in which clients are told. The sockets end in the rest."""
NOTICE = 1.0
"""Seconds between `going_away` and the close, in which the client reconnects; at most
NOTICE_SHARE of the window. It is shorter than the grace, so a client that first waits
for the close, and then for `reconnect_in`, is not too late either."""
NOTICE_SHARE = 0.2


def send_all_away(hub: Hub, window: float) -> None:
    """Close all connections within `window` seconds. Returns when all are closed."""
    connections = hub.connections()
    if not connections:
        return
    log.info("closing %d connections within %.1f s", len(connections), window)
    random.shuffle(connections)
    notice = min(NOTICE, window * NOTICE_SHARE)
    pause = (window * CLOSING_SHARE - notice) / len(connections)
    for connection in connections:
        _send_away(connection, notice)
        gevent.sleep(pause)
    # Connections whose handshake was under way when the listening socket was closed.
    told = {connection.connection_id for connection in connections}
    for connection in hub.connections():
        if connection.connection_id not in told:
            _send_away(connection, notice)
    gevent.sleep(notice)


def _send_away(connection: ClientConnection, notice: float) -> None:
    reconnect_in = round(random.uniform(0, notice), 3)  # noqa: S311 - spreads load
    connection.send(text_frame(events.going_away(reconnect_in)))
    gevent.spawn_later(
        notice, connection.close, CloseCode.RESTART, "the server restarts"
    )
