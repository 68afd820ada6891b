"""Tells those who are online of changes that the host application makes.

The process that made the change publishes it, after its commit and before it answers:
whoever connects after the answer has the change in the snapshot, and hears nothing
twice.
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError

from app.services import services
from models.graph import GraphChange
from models.presence import PresenceUnavailable
from tasks import fanout

log = logging.getLogger(__name__)


def announce_graph_change(change: GraphChange) -> None:
    """New friends and partners hear of each other's status; who lost some gets a fresh
    snapshot without them. Call it after the commit.

    Where Redis is away nobody is told: the change stands, and the next snapshot has it.
    """
    current = services()
    lost = {user_id for pair in change.lost for user_id in pair}
    try:
        if change.gained:
            with current.database.connect() as connection:
                fanout.introduce(current.presence, connection, change.gained)
        if lost:
            fanout.refresh(current.presence, lost)
    except (PresenceUnavailable, SQLAlchemyError) as error:
        log.warning("nobody was told of a change of relations: %s", error)


def disconnect_user(user_id: str) -> None:
    """Close every socket of `user_id`, wherever it is.

    Raises:
        PresenceUnavailable: a shard is away; not all of them may have been closed.
    """
    fanout.disconnect(services().presence, [user_id])
