"""A planned shutdown that spreads: clients are told when to come back, then closed.

Closing all sockets at once would make all clients come back at once. Each gets its own
random `reconnect_in`, and the closes are spread over the drain window.
"""

from __future__ import annotations

import logging
import random

import gevent

from app.gateway.frames import text_frame
from app.gateway.hub import Hub
from models import events
from models.events import CloseCode

log = logging.getLogger(__name__)

CLOSING_SHARE = 0.8
"""The part of the window in which sockets are closed; the rest is for their ends."""


def drain(hub: Hub, window: float) -> None:
    """Send everybody away within `window` seconds. Returns when all have been told."""
    connections = hub.connections()
    if not connections:
        return
    log.info("draining %d connections within %.1f s", len(connections), window)
    random.shuffle(connections)
    for connection in connections:
        reconnect_in = round(random.uniform(0, window), 3)  # noqa: S311 - spreads load
        connection.send(text_frame(events.going_away(reconnect_in)))
    pause = window * CLOSING_SHARE / len(connections)
    for connection in connections:
        gevent.sleep(pause)
        connection.close(CloseCode.RESTART, "the server restarts")
