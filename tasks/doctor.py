"""A task that `flask doctor` sends, to learn whether a worker lives."""

from __future__ import annotations

import logging

from models.presence import PresenceUnavailable
from tasks import resources
from tasks.celery_app import TASK_EXPIRES, celery

log = logging.getLogger(__name__)


@celery.task(name="tasks.doctor.answer", expires=TASK_EXPIRES)
def answer(question: str) -> None:
    """Write the answer to Redis, where the caller waits for it."""
    try:
        resources.presence().servers.answer(question)
    except PresenceUnavailable as error:
        log.warning("the question of flask doctor has no answer: %s", error)
