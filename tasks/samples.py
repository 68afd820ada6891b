"""The task that takes a sample of the state once a minute, for the operators' page."""

from __future__ import annotations

import logging

from models.presence import Presence
from models.presence.samples import Sample
from models.worker_metrics import STATUSES, TRANSITIONS
from tasks import resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

NOT_SAMPLED = "no sample was taken for the operators' page: %s"


@celery.task(name="tasks.samples.take_sample")
def take_sample() -> None:
    """Add a sample to those of the last hour."""
    with resources.outages_logged(log, NOT_SAMPLED):
        presence = resources.presence()
        presence.samples.add(sample(presence))


def sample(presence: Presence) -> Sample:
    """The state now.

    Raises:
        PresenceUnavailable: a shard did not answer.
    """
    overview, stats = presence.overview(), presence.stats()
    counted = presence.worker_counts.read([TRANSITIONS.field(one) for one in STATUSES])
    return Sample(
        online=overview.online,
        connections=stats.connections,
        gateways=stats.gateways,
        outbox=overview.outbox,
        transitions=sum(counted.values()),
    )
