"""The sweep: a task of beat that makes users offline whose deadline has passed.

A user whose deadline has passed is *due*. The cost of a sweep depends on how many users
are due, not on how many are online. Two sweeps at the same time do no harm, because the
script that makes a user offline checks the deadline itself.
"""

from __future__ import annotations

import logging

from config import Settings
from models.presence import PresenceUnavailable, Shard
from models.presence.batches import SCRIPT_BATCH
from models.presence.rules import MassExpiryGuard
from models.presence.store import Caller, ExpireReply
from tasks import broadcast, resources
from tasks.celery_app import celery, current_settings

log = logging.getLogger(__name__)

NOT_EXPIRED = "no user was expired, the next sweep will do it: %s"
MAX_PER_SWEEP = 100_000
"""The most users that one sweep expires. A sweep must end soon, so that the next one is
not late."""
GAP_SWEEPS = 2
"""If no sweep ran for this many sweep intervals, there is a gap: Redis or the sweeps
stood still."""


@celery.task(name="tasks.expiry.expire_due")
def expire_due(shard: int = 0) -> None:
    """Release the users of dead gateways in `shard`, then expire all users of the shard
    who are due."""
    try:
        needs_drain = sweep(resources.presence().shards[shard], current_settings())
    except PresenceUnavailable as error:
        log.warning(NOT_EXPIRED, error)
        return
    if needs_drain:
        broadcast.request_drain(shard)


def sweep(shard: Shard, settings: Settings, limit: int = MAX_PER_SWEEP) -> bool:
    """Sweep `shard` once, unless the guard says that the sweep must expire nobody now.
    Returns whether the caller must request a drain."""
    caller = _caller(shard, settings)
    if caller is None:
        return False
    needs_drain = False
    expired = 0
    failed: set[str] = set()
    due = shard.store.due()
    for gateway_id in due.gateway_ids:
        try:
            reply = _reap(shard, gateway_id, caller)
        except PresenceUnavailable:
            raise
        except Exception:
            # Other gateways and users must not wait for this one.
            log.exception("dead gateway %s was not removed", gateway_id)
            continue
        needs_drain |= reply.needs_drain
        expired += len(reply.transitions)
    while expired < limit and (user_ids := set(due.user_ids) - failed):
        reply = shard.store.expire(user_ids, caller)
        needs_drain |= reply.needs_drain
        expired += len(reply.transitions)
        if reply.is_refused:
            log.warning(
                "Redis stood still, or this sweep was slow: the next one continues"
            )
            break
        failed |= reply.failed
        due = shard.store.due(SCRIPT_BATCH + len(failed))
    if expired:
        log.info("%d users expired", expired)
    if adopted := shard.store.adopt():
        log.warning(
            "%d online users had no deadline, so the state was damaged; they go "
            "offline in %.1f s unless a heartbeat comes",
            adopted,
            settings.online_ttl,
        )
    return needs_drain


def _reap(shard: Shard, gateway_id: str, caller: Caller) -> ExpireReply:
    reaped = shard.gateways.reap(gateway_id)
    log.warning("gateway %s is dead: %d users released", gateway_id, len(reaped))
    return shard.store.expire(reaped, caller)


def _caller(shard: Shard, settings: Settings) -> Caller | None:
    """What `expire` must know about this sweep as its caller. None if the guard says
    that the sweep must expire nobody now.

    The guard decides from a survey of the shard. The survey is valid until the next
    sweep would be late."""
    guard = MassExpiryGuard(
        share=settings.breaker_share,
        count=settings.breaker_count,
        hold=int(settings.breaker_hold * 1000),
        trust=int(settings.gateway_ttl * 1000),
    )
    gap = int(GAP_SWEEPS * settings.sweep_interval * 1000)
    survey, overdue = shard.store.survey(gap)
    holds = guard.holds(survey)
    if holds and not survey.held_since:
        shard.store.hold_sweeps(survey.now)
        log.warning(
            "%d of %d users and %d of %d gateways seem to be gone at once: nobody "
            "is expired for %.1f s, so that live ones can send a heartbeat",
            survey.affected,
            survey.online,
            survey.overdue_gateways,
            survey.gateways,
            settings.breaker_hold,
        )
    elif survey.held_since and not holds:
        shard.store.hold_sweeps(0)
        log.warning(
            "sweeps continue: %d of %d users are gone, and these gateways: %s",
            survey.affected,
            survey.online,
            ", ".join(overdue) or "none",
        )
    return None if holds else Caller("", survey.now + gap)
