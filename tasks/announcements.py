"""Tells of changes of the graph that the process which made them could not tell.

The rule is in `app.announce`: a change is told after its commit, by the process that
made it. Where Redis was away then, or that process died in between, its row in
`pending_announcements` is left, and beat has it told here. Gateways read SQL for fresh
snapshots, so these are right whatever has changed since.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from models import fanout
from models.events import EVERYBODY
from models.presence import Presence, PresenceUnavailable
from models.sql import pending_announcements
from models.sql.db import session_factory, what_it_says
from models.sql.pending_announcements import MOST_NAMED
from tasks import resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

NOT_ANNOUNCED = "changes of the graph wait to be told: %s"
OLDER_THAN = 5.0
"""Seconds after which a row is looked at: those of the last seconds are just being told
by the process that made the change."""


@celery.task(name="tasks.announcements.announce_pending")
def announce_pending() -> None:
    """Tell of all changes that are left over."""
    try:
        announce(resources.presence(), resources.database())
    except DBAPIError as error:
        log.warning(NOT_ANNOUNCED, what_it_says(error))
    except (PresenceUnavailable, SQLAlchemyError) as error:
        log.warning(NOT_ANNOUNCED, error)


def announce(
    presence: Presence, database: Engine, older_than: float = OLDER_THAN
) -> None:
    """Tell of the changes that were made `older_than` seconds ago or before.

    Raises:
        PresenceUnavailable: a shard is away: the next attempt tells all of them.
        sqlalchemy.exc.SQLAlchemyError: the database is away.
    """
    with database.connect() as reader:
        rows = [
            row
            for row in pending_announcements.pending(reader)
            if row.age >= older_than
        ]
    if not rows:
        return
    # Asks every shard, so nothing is told again and again while one of them is away.
    is_settled = presence.is_settled()
    due = [row for row in rows if is_settled or not row.was_told]
    snapshots = {key for row in due if not row.was_told for key in row.snapshots}
    disconnects = {key for row in due for key in row.disconnects}
    if EVERYBODY in snapshots or len(snapshots) > MOST_NAMED:
        fanout.make_good(presence)
    elif snapshots:
        fanout.refresh(presence, snapshots)
    if disconnects:
        fanout.disconnect(presence, disconnects)
    # A gateway that registers anew sends fresh snapshots by itself. But a message to
    # close sockets reaches only gateways that have shown themselves.
    again = [row.id for row in due if row.disconnects and not is_settled]
    with session_factory(database)() as session:
        pending_announcements.settle(session, {row.id for row in due} - set(again))
        if again:
            pending_announcements.mark_told(session, again)
        session.commit()
    if due:
        log.info("%d changes of the graph were told late", len(due))
