"""The sweep: beat has it expire what is due. Its cost follows what is due.

Running it twice, or ten times at once, changes nothing: the script that makes a user
offline checks the deadline itself.
"""

from __future__ import annotations

import logging

from config import Settings
from models.presence import PresenceUnavailable, Shard
from models.presence.batches import SCRIPT_BATCH
from models.presence.rules import Breaker
from models.presence.store import Caller, ExpireReply
from tasks import broadcast, resources
from tasks.celery_app import celery, current_settings

log = logging.getLogger(__name__)

NOT_EXPIRED = "nothing was expired, the next sweep will do it: %s"
MOST_PER_SWEEP = 100_000
"""Users that one sweep expires, so that it ends well before its next run is late."""
GAP_SWEEPS = 2
"""Sweep intervals without a sweep that are a gap: Redis or the sweeps stood still."""


@celery.task(name="tasks.expiry.expire_due")
def expire_due(shard: int = 0) -> None:
    """Release what dead gateways held in `shard`, then expire every user of it who is
    due."""
    try:
        must_kick = sweep(resources.presence().shards[shard], current_settings())
    except PresenceUnavailable as error:
        log.warning(NOT_EXPIRED, error)
        return
    if must_kick:
        broadcast.kick(shard)


def sweep(shard: Shard, settings: Settings, most: int = MOST_PER_SWEEP) -> bool:
    """Do one sweep of `shard`, unless it has to hold. Returns whether the caller has
    to kick the fan-out."""
    caller = _caller(shard, settings)
    if caller is None:
        return False
    must_kick = False
    expired = 0
    failed: set[str] = set()
    due = shard.store.due()
    for gateway_id in due.gateway_ids:
        try:
            reply = _reap(shard, gateway_id, caller)
        except PresenceUnavailable:
            raise
        except Exception:
            # Whatever it is, other gateways and other users do not wait for it.
            log.exception("gateway %s is dead and was not reaped", gateway_id)
            continue
        must_kick |= reply.must_kick
        expired += len(reply.transitions)
    while expired < most and (user_ids := set(due.user_ids) - failed):
        reply = shard.store.expire(user_ids, caller)
        must_kick |= reply.must_kick
        expired += len(reply.transitions)
        if reply.is_refused:
            log.warning("Redis stood still, or this sweep is slow: the next goes on")
            break
        failed |= reply.failed
        due = shard.store.due(SCRIPT_BATCH + len(failed))
    if expired:
        log.info("%d users expired", expired)
    if adopted := shard.store.adopt():
        log.warning(
            "%d online users had no deadline, which a damaged state explains: they go "
            "offline in %.1f s unless a heartbeat comes",
            adopted,
            settings.online_ttl,
        )
    return must_kick


def _reap(shard: Shard, gateway_id: str, caller: Caller) -> ExpireReply:
    reaped = shard.gateways.reap(gateway_id)
    log.warning("gateway %s is dead: %d users released", gateway_id, len(reaped))
    return shard.store.expire(reaped, caller)


def _caller(shard: Shard, settings: Settings) -> Caller | None:
    """As what this sweep may expire users: its survey counts for as long as sweeps may
    be apart. None: it has to hold."""
    breaker = Breaker(
        share=settings.breaker_share,
        count=settings.breaker_count,
        hold=int(settings.breaker_hold * 1000),
        trust=int(settings.gateway_ttl * 1000),
    )
    gap = int(GAP_SWEEPS * settings.sweep_interval * 1000)
    survey, overdue = shard.store.survey(gap)
    holds = breaker.holds(survey)
    if holds and not survey.held_since:
        shard.store.hold_sweeps(survey.now)
        log.warning(
            "%d of %d users seem to be gone at once, and %d of %d gateways: nobody is "
            "expired for %.1f s, so that those who live can show it",
            survey.affected,
            survey.online,
            survey.overdue_gateways,
            survey.gateways,
            settings.breaker_hold,
        )
    elif survey.held_since and not holds:
        shard.store.hold_sweeps(0)
        log.warning(
            "sweeps go on: %d of %d users are gone, and gateways %s",
            survey.affected,
            survey.online,
            ", ".join(overdue) or "none",
        )
    return None if holds else Caller("", survey.now + gap)
