"""The task that announces changes of the graph whose announcement failed.

The process that changes the graph announces the change after its commit
(`app.announce`). If Redis is down at that moment, or the process dies before it has
announced the change, a row stays in `pending_announcements`. Beat runs this task, which
announces such changes. It sends fresh snapshots, which gateways read from SQL. So the
result is right even if the graph has changed again.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models import fanout
from models.events import EVERYBODY
from models.presence import Presence, PresenceUnavailable
from models.sql import pending_announcements
from models.sql.db import error_text, session_factory
from models.sql.pending_announcements import MAX_NAMED
from tasks import resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

NOT_ANNOUNCED = "changes of the graph are not announced yet: %s"
OLDER_THAN = 5.0
"""Seconds after which a row is due. A younger row is usually still being announced by
the process that made the change."""


@celery.task(name="tasks.announcements.announce_pending")
def announce_pending() -> None:
    """Announce all changes that are due."""
    try:
        announce(resources.presence(), resources.database())
    except PresenceUnavailable as error:
        log.warning(NOT_ANNOUNCED, error)
    except SQLAlchemyError as error:
        resources.note_without_database()
        log.warning(NOT_ANNOUNCED, error_text(error))


def announce(
    presence: Presence, database: Engine, older_than: float = OLDER_THAN
) -> None:
    """Announce the changes that were made at least `older_than` seconds ago.

    Raises:
        PresenceUnavailable: a shard did not answer. The next run announces all rows.
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    with database.connect() as reader:
        rows = [
            row
            for row in pending_announcements.pending(reader)
            if row.age >= older_than
        ]
    if not rows:
        return
    # This asks every shard and raises if one is down. Without that, each run during an
    # outage would send the same messages to the gateways that can be reached.
    is_settled = presence.is_settled()
    due = [row for row in rows if is_settled or not row.was_told]
    snapshots = {key for row in due if not row.was_told for key in row.snapshots}
    disconnects = {key for row in due for key in row.disconnects}
    if EVERYBODY in snapshots or len(snapshots) > MAX_NAMED:
        fanout.refresh_all(presence)
    elif snapshots:
        fanout.refresh(presence, snapshots)
    if disconnects:
        fanout.disconnect(presence, disconnects)
    # Redis may not know all gateways yet. A gateway that registers later sends fresh
    # snapshots by itself, but it misses a message that closes sockets. So send that
    # message a second time later.
    repeat = [row.id for row in due if row.disconnects and not is_settled]
    with session_factory(database)() as session:
        pending_announcements.remove(session, {row.id for row in due} - set(repeat))
        if repeat:
            pending_announcements.mark_told(session, repeat)
        session.commit()
    if due:
        log.info("%d changes of the graph were announced late", len(due))
