"""A planned shutdown that no friend notices: clients reconnect before they are closed.

If all sockets were closed at once, all clients would return at once. So each client has
its own moment in the drain window. At that moment it gets `going_away`, and a second
later its socket is closed. The time between the two is short, so that no user goes
offline in it.
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
"""The part of the window in which clients get `going_away`. The last sockets end in the
rest of it."""
NOTICE = 1.0
"""Seconds between `going_away` and the close, in which the client reconnects. The
notice is at most NOTICE_SHARE of the window. It is shorter than the default grace. So a
client that waits for the close first, and then for `reconnect_in`, is in time too."""
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
    # Some connections were still in their handshake when the listening socket closed.
    notified = {connection.connection_id for connection in connections}
    for connection in hub.connections():
        if connection.connection_id not in notified:
            _send_away(connection, notice)
    gevent.sleep(notice)


def _send_away(connection: ClientConnection, notice: float) -> None:
    reconnect_in = round(random.uniform(0, notice), 3)  # noqa: S311 - spreads load
    connection.send(text_frame(events.going_away(reconnect_in)))
    gevent.spawn_later(
        notice, connection.close, CloseCode.RESTART, "the server restarts"
    )
