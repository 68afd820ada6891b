"""Ends layers of detail whose time is over. Tells the viewers and the user's devices.

Reads already treat such a layer as empty. So if a process dies here, no wrong detail is
shown, and the next run does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Engine

from models.detail import Layers, detail_of
from models.events import UserStatus
from models.own_settings import tell_own_devices
from models.presence import Presence, PresenceUnavailable
from models.presence.errors import CommandRefused
from models.sql.db import session_factory
from models.sql.presence_settings import (
    ended_layers,
    read_settings,
    remove_ended_layers,
)

log = logging.getLogger(__name__)

NOT_TOLD = "viewers of %s do not hear that a layer of detail has ended: %s"
BATCH = 200
"""Users of one transaction."""


def end_layers(
    presence: Presence, database: Engine, request_drain: Callable[[int], object]
) -> int:
    """End all layers whose time is over. Viewers are told if this changes what they are
    shown. The user's own devices are always told. Returns the number of users.
    If a shard does not answer, the next run ends the layers of its users.

    Raises:
        PresenceUnavailable: no shard answered, or a shard went down meanwhile. The next
            run does the rest.
        sqlalchemy.exc.SQLAlchemyError: the database is down. The next run does the
            rest.
    """
    ended, after = 0, ""
    while True:
        now = presence.now()
        with database.connect() as reader:
            batch = ended_layers(reader, now, BATCH, after)
        if not batch:
            return ended
        after = max(batch)
        statuses = presence.statuses_where_possible(batch)
        users = {one: batch[one] for one in batch.keys() & statuses.found.keys()}
        for user_id, layers in users.items():
            if _is_shown(statuses.found[user_id], layers, now):
                shard = presence.shard_of(user_id)
                try:
                    if shard.store.record_detail_change(user_id):
                        request_drain(shard.number)
                except CommandRefused as error:  # must not stop the other users
                    log.warning(NOT_TOLD, user_id, error)
        # Only now: if this process dies before, the next run tells it once more.
        with session_factory(database)() as session:
            remove_ended_layers(session, users, now)
            session.commit()
            settings = {one: read_settings(session, one) for one in users}
        for user_id in users:
            with suppress(PresenceUnavailable):  # they read it when they connect again
                tell_own_devices(presence, user_id, settings[user_id], statuses)
        ended += len(users)


def _is_shown(real: UserStatus, layers: Layers, now: int) -> bool:
    """Whether the end of a layer changes what viewers are shown."""
    ends = [one.expires_at for one in layers if one.expires_at is not None]
    before = detail_of(real, layers, min(ends) - 1)
    return before != detail_of(real, layers, now)
