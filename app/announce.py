"""Tells those who are online of changes that the host application makes.

The process that made the change publishes it, after its commit and before it answers:
whoever connects after the answer has the change in the snapshot, and hears nothing
twice.

The change and a row that says that it is to be told are one transaction. The row is
deleted when all were told. Where Redis is away, or this process dies in between, beat
has it told later (`tasks.announcements`).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.outages import Outage
from app.services import Services, services
from models import fanout
from models.presence import PresenceUnavailable
from models.sql import pending_announcements
from models.sql.graph import GraphChange

_outage = Outage("changes of the graph are stored, and told later")


def commit_and_announce(
    session: Session, change: GraphChange, disconnects: Collection[str] = ()
) -> None:
    """Commit what `session` has written. Then tell: new friends and partners hear of
    each other's status, users who lost a relation get a fresh snapshot without it, and
    the sockets of `disconnects` are closed.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: nothing was committed, and nobody is told.
    """
    if not change and not disconnects:
        session.commit()
        return
    affected = {user_id for pair in change.gained | change.lost for user_id in pair}
    row = pending_announcements.note(session, affected, disconnects)
    session.commit()
    current = services()
    try:
        has_reached_all = _tell(current, change, disconnects)
        with current.sessions() as own:
            if has_reached_all:
                pending_announcements.settle(own, [row])
            else:
                pending_announcements.mark_told(own, [row])
            own.commit()
    except (PresenceUnavailable, SQLAlchemyError) as error:
        _outage.failed(error)
    else:
        _outage.succeeded()


def _tell(current: Services, change: GraphChange, disconnects: Collection[str]) -> bool:
    """Tell of `change`. False where a gateway may not have heard of `disconnects`."""
    if change.gained:
        with current.database.connect() as connection:
            fanout.introduce(current.presence, connection, change.gained)
    lost = {user_id for pair in change.lost for user_id in pair}
    if lost:
        fanout.refresh(current.presence, lost)
    if not disconnects:
        return True
    fanout.disconnect(current.presence, disconnects)
    return current.presence.is_settled()


def disconnect_user(user_id: str) -> None:
    """Close every socket of `user_id`, wherever it is.

    Raises:
        PresenceUnavailable: a shard is away; not all of them may have been closed.
    """
    fanout.disconnect(services().presence, [user_id])
