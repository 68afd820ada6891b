"""A planned shutdown that nobody hears of: each client is told when to come back, and
closed only then.

Closing all sockets at once would make all clients come back at once, so each has its
own moment in the drain window. It is told `going_away` at that moment, not before: who
was closed early and told to come back late would be offline in between.
"""

from __future__ import annotations

import logging
import random

import gevent

from app.gateway.hub import Hub
from app.websocket.connection import Connection
from app.websocket.frames import text_frame
from models import events
from models.events import CloseCode

log = logging.getLogger(__name__)

CLOSING_SHARE = 0.8
"""The part of the window in which sockets are closed; the rest is for their ends."""
NOTICE = 1.0
"""Seconds between `going_away` and the close, within which the client comes back; no
more than NOTICE_SHARE of the window. Shorter than the grace: who first waits for the
close and then as long as he was told is not too late either."""
NOTICE_SHARE = 0.2


def drain(hub: Hub, window: float) -> None:
    """Send everybody away within `window` seconds. Returns when all are closed."""
    connections = hub.connections()
    if not connections:
        return
    log.info("draining %d connections within %.1f s", len(connections), window)
    random.shuffle(connections)
    notice = min(NOTICE, window * NOTICE_SHARE)
    pause = (window * CLOSING_SHARE - notice) / len(connections)
    for connection in connections:
        _send_away(connection, notice)
        gevent.sleep(pause)
    # Those whose handshake was under way when the listening socket was closed.
    told = {connection.connection_id for connection in connections}
    for connection in hub.connections():
        if connection.connection_id not in told:
            _send_away(connection, notice)
    gevent.sleep(notice)


def _send_away(connection: Connection, notice: float) -> None:
    reconnect_in = round(random.uniform(0, notice), 3)  # noqa: S311 - spreads load
    connection.send(text_frame(events.going_away(reconnect_in)))
    gevent.spawn_later(
        notice, connection.close, CloseCode.RESTART, "the server restarts"
    )
