"""Ends layers of detail whose time is over, as in "away until 5 pm". Beat sends it."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError

from models.layer_ends import end_layers
from models.presence import PresenceUnavailable
from models.sql.db import error_text
from tasks import broadcast, resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

NOT_ENDED = "layers of detail could not be ended, the next run will do it: %s"


@celery.task(name="tasks.layers.end_due")
def end_due() -> None:
    """End all layers of detail whose time is over."""
    try:
        ended = end_layers(
            resources.presence(), resources.database(), broadcast.request_drain
        )
    except PresenceUnavailable as error:
        log.warning(NOT_ENDED, error)
    except DBAPIError as error:
        resources.note_without_database()
        log.warning(NOT_ENDED, error_text(error))
    else:
        if ended:
            log.info("ended the availability, text or emoji of %d users", ended)
