"""The task that tells gateways of transitions.

`drain_transitions` empties the outbox. It is asked for by the process whose script call
found nobody draining, and by beat as a safety net. One drainer works at a time; it
stays a while after the outbox is empty, so that under steady load no change waits for
a task of its own.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import OperationalError

from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import OutboxEntry
from tasks import fanout, resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

BATCH = 500
"""Transitions of one fan-out."""
LINGER_MS = 1000
"""How long a drainer waits for more before it stops."""
TURN = 3.0
"""Seconds after which a drainer makes room for other tasks, and is sent again."""
NOT_BROADCAST = "nothing was broadcast, the next drain will do it: %s"
KICK_EXPIRES = 10
"""Seconds after which an asked-for drain is worthless: beat has made another."""


@celery.task(name="tasks.broadcast.drain_transitions")
def drain_transitions() -> None:
    """Broadcast what is in the outbox, and what comes while at it."""
    try:
        unfinished = drain(resources.presence())
    except (PresenceUnavailable, OperationalError) as error:
        log.warning(NOT_BROADCAST, error)
        return
    if unfinished:
        kick()


def drain(presence: Presence) -> bool:
    """Drain the outbox until it stays empty. Returns whether there may be more to do.

    An entry is acknowledged only after it was published: a drainer that dies in between
    leaves it to the next one, and the repeat is harmless since the newest timestamp
    wins.
    """
    token = secrets.token_hex(8)
    ends = time.monotonic() + TURN
    outbox = presence.outbox
    published: list[OutboxEntry] = []
    has_work = False  # what finds nothing at all to do is gone at once
    while (entries := outbox.drain(token, published, BATCH)) is not None:
        published = []
        try:
            if not entries and has_work:
                entries = outbox.read(BATCH, LINGER_MS)
            if entries:
                has_work = True
                with resources.sessions()() as session:
                    fanout.fan_out(
                        presence, session, [entry.transition for entry in entries]
                    )
                published = entries
            elif outbox.leave(token):
                return False
        except BaseException:
            _leave(presence, token, published)
            raise
        if time.monotonic() >= ends:
            _leave(presence, token, published)
            return True
    return False


def _leave(presence: Presence, token: str, published: Sequence[OutboxEntry]) -> None:
    try:
        presence.outbox.leave(token, published, unfinished=True)
    except PresenceUnavailable:
        log.warning("the drainer's lease runs out by itself: Redis is away")


def kick() -> bool:
    """Ask for a drain. False where the broker is away: beat asks again."""
    try:
        drain_transitions.apply_async(retry=False, expires=KICK_EXPIRES)
    except BrokerError as error:
        log.warning("no drain was asked for, the broker is away: %s", error)
        return False
    return True
