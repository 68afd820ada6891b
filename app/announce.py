"""Announces changes of the graph to users who are online.

The process that makes a change announces it, after its commit and before it answers. A
client that connects after the answer has the change in its snapshot, and gets no event
about it.

The change and a row in `pending_announcements` are written in one transaction. The row
is deleted when all gateways have got the announcement. If Redis is down, or this
process dies before that, a task announces the change later (`tasks.announcements`).
"""

from __future__ import annotations

import time
from collections.abc import Collection

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.outages import Outage
from app.services import Services, services
from models import fanout
from models.presence import PresenceUnavailable
from models.sql import pending_announcements, revocations
from models.sql.graph import GraphChange
from models.visibility_updater import Viewers

_late = Outage("a user is revoked, and some gateways will notice it a little later")
_outage = Outage("changes of the graph are stored and will be announced later")


def commit_and_announce(
    session: Session, change: GraphChange, disconnects: Collection[str] = ()
) -> None:
    """Commit what `session` has written, then announce it. New friends and partners get
    each other's status. Users who lost a relation get a fresh snapshot. So do the
    participants of a conversation that is too large for single events. The sockets of
    the users in `disconnects` are closed.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the change was neither committed nor announced.
    """
    if not change and not disconnects:
        session.commit()
        return
    affected = {user_id for pair in change.gained | change.lost for user_id in pair}
    affected |= change.refreshed
    viewers = _viewers(change)
    affected.update(*(one.changed() for one in viewers.values()))
    row = pending_announcements.record(session, affected, disconnects)
    current = services()
    tell = []
    error: PresenceUnavailable | None = None
    try:
        for user_id, changed in viewers.items():
            tell.append(
                current.visibility.store_graph_change(session, user_id, changed)
            )
    except PresenceUnavailable as unavailable:
        error = unavailable  # the viewers get fresh snapshots later
    session.commit()
    try:
        for tell_viewers in tell:
            tell_viewers()
        if error is not None:
            raise error
        reached_all = _announce(current, change, disconnects)
        with current.sessions() as own:
            if reached_all:
                pending_announcements.remove(own, [row])
            else:
                pending_announcements.mark_told(own, [row])
            own.commit()
    except (PresenceUnavailable, SQLAlchemyError) as error:
        _outage.failed(error)
    else:
        _outage.succeeded()


def _viewers(change: GraphChange) -> dict[str, Viewers]:
    """For each user, the viewers who see that user differently now, because a
    friendship has begun or ended."""
    found: dict[str, Viewers] = {}
    for views, which in ((change.before, "before"), (change.after, "after")):
        for view in views:
            one = found.setdefault(view.user_id, Viewers([], []))
            getattr(one, which).append(view)
    return {user_id: one for user_id, one in found.items() if one.before != one.after}


def _announce(
    current: Services, change: GraphChange, disconnects: Collection[str]
) -> bool:
    """Announce `change`. Returns False if a gateway may have missed `disconnects`."""
    if change.gained:
        with current.database.connect() as connection:
            fanout.introduce(current.presence, connection, change.gained)
    outdated = {user_id for pair in change.lost for user_id in pair}
    outdated |= change.refreshed
    if outdated:
        fanout.refresh(current.presence, outdated)
    if not disconnects:
        return True
    fanout.disconnect(current.presence, disconnects)
    return current.presence.is_settled()


def disconnect_user(user_id: str) -> None:
    """Close every socket of `user_id`, on all gateways.

    Raises:
        PresenceUnavailable: a shard is down. Some sockets may still be open.
    """
    fanout.disconnect(services().presence, [user_id])


def revoke_user(user_id: str) -> None:
    """Refuse the tokens and tickets of `user_id` that were issued up to now, and close
    their sockets, on all gateways. If a gateway gets no message, because Redis is down,
    it notices the revocation within seconds in SQL.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down. Nothing is revoked.
    """
    current = services()
    now = int(time.time())
    with current.sessions() as session:
        revocations.revoke(session, user_id, now)
        session.commit()
    current.gateway.revoke(user_id, now)
    try:
        fanout.revoke(current.presence, user_id, now)
    except PresenceUnavailable as error:
        _late.failed(error)
    else:
        _late.succeeded()
