"""The sweep: beat has it expire what is due. Its cost follows what is due.

Running it twice, or ten times at once, changes nothing: the script that makes a user
offline checks the deadline itself.
"""

from __future__ import annotations

import logging

from models.presence import Presence, PresenceUnavailable
from tasks import broadcast, resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

MOST_PER_SWEEP = 100_000
"""Users that one sweep expires, so that it ends well before its next run is late."""


@celery.task(name="tasks.expiry.expire_due")
def expire_due() -> None:
    """Release what dead gateways held, then expire every user who is due."""
    try:
        must_kick = sweep(resources.presence())
    except PresenceUnavailable as error:
        log.warning("nothing was expired, the next sweep will do it: %s", error)
        return
    if must_kick:
        broadcast.kick()


def sweep(presence: Presence, most: int = MOST_PER_SWEEP) -> bool:
    """Do one sweep. Returns whether the caller has to kick the fan-out."""
    must_kick = False
    expired = 0
    due = presence.store.due()
    for gateway_id in due.gateway_ids:
        reaped = presence.gateways.reap(gateway_id)
        log.warning("gateway %s is dead: %d users released", gateway_id, len(reaped))
        reply = presence.store.expire(reaped)
        must_kick |= reply.must_kick
        expired += len(reply.transitions)
    while due.user_ids and expired < most:
        reply = presence.store.expire(due.user_ids)
        must_kick |= reply.must_kick
        expired += len(reply.transitions)
        due = presence.store.due()
    if expired:
        log.info("%d users expired", expired)
    return must_kick
