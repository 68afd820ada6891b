"""The tasks that write to SQL when users were online: `last_seen`, always, and sessions
if `PRESENCE_SESSION_DAYS` is set.

Beat sends `store_transitions` for each shard. It writes what the outbox has passed on
(`models.presence.unstored`), in batches. A batch is removed from Redis only after the
commit. A repeated write does no harm (`models.sql.last_seen`, `models.sql.sessions`).
So each transition is written once, whenever a process dies.

A walk through all users finds transitions that were lost on their way. It can only find
the newest one of each user. After a loss of state, Redis does not know when a user has
left. The session of such a user then ends when the loss was noticed.
"""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError

from models.events import NewerVersion
from models.presence import Presence, PresenceError
from models.presence.keys import shard_number
from models.presence.unstored import Unstored
from models.recorded import RecordedTransition, newest_transition
from models.sql import sessions
from models.sql.db import error_text, session_factory
from models.sql.last_seen import hold_users, newest_stored, put_last_seen
from models.sql.pages import users_page
from tasks import resources
from tasks.celery_app import celery, current_settings, send_again

log = logging.getLogger(__name__)

NOT_STORED = "transitions are not stored in the database yet, they wait: %s"
NOT_DELETED = "old sessions are not deleted yet: %s"
DROPPED = "a transition cannot be stored in the database and is dropped: %s: %s"
BATCH = 500
"""Transitions of one transaction. On SQLite it holds the only write lock for some
milliseconds."""
RUN_SECONDS = 1.0
"""Seconds after which a task lets other tasks run, and sends itself again."""
WAIT_FOR_USER_MS = 60_000
"""Milliseconds for which a transition of an unknown user waits: a gateway may still be
storing a new user. If the user was deleted, the transition is then dropped."""
DAY_MS = 86_400_000
FIRST = "0"
"""An id that comes before all entries."""
WITH_SESSIONS = "s"
"""What follows the epoch in the goal of a walk that also writes sessions. So there is a
new walk when sessions are switched on, and those that last have their start."""


@celery.task(name="tasks.history.store_transitions")
def store_transitions(shard: int = 0) -> None:
    """Store the transitions of `shard` that are not stored yet."""
    days = current_settings().session_days
    writer = HistoryWriter(
        resources.presence(), resources.database(), shard, keeps_sessions=days > 0
    )
    with resources.outages_logged(log, NOT_STORED):
        if writer.run(time.monotonic() + RUN_SECONDS):
            send_again(store_transitions, shard)


@celery.task(name="tasks.history.delete_old_sessions")
def delete_old_sessions() -> None:
    """Delete the sessions that are older than `PRESENCE_SESSION_DAYS`. If no sessions
    are kept, delete all."""
    days = current_settings().session_days
    with resources.outages_logged(log, NOT_DELETED):
        now = resources.presence().now()
        ended_before = now - days * DAY_MS if days else None
        if delete_sessions(resources.database(), ended_before):
            send_again(delete_old_sessions)


def delete_sessions(
    database: Engine, ended_before: int | None, seconds: float = RUN_SECONDS
) -> bool:
    """Delete the sessions that ended before that time (ms; None: all sessions), in
    small transactions. Returns True if there are more, because the time is over.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down.
    """
    ends_at = time.monotonic() + seconds
    make_session = session_factory(database)
    while True:
        with make_session() as session:
            if ended_before is None:
                deleted = sessions.delete_all_sessions(session, BATCH)
            else:
                deleted = sessions.delete_sessions(session, ended_before, BATCH)
            session.commit()
        if deleted < BATCH:
            return False
        if time.monotonic() >= ends_at:
            return True


class HistoryWriter:
    """Writes the transitions of one shard to SQL.

    Methods raise `PresenceUnavailable` if the shard does not answer, and
    `sqlalchemy.exc.SQLAlchemyError` if the database is down. The transitions then wait.
    """

    def __init__(
        self, presence: Presence, database: Engine, shard: int, *, keeps_sessions: bool
    ) -> None:
        self._presence = presence
        self._queue = presence.shards[shard].unstored
        self._shard = shard
        self._database = database
        self._sessions = session_factory(database)
        self._keeps_sessions = keeps_sessions
        self._token = secrets.token_hex(8)

    def run(self, ends_at: float) -> bool:
        """Write until nothing is left, or until the time `ends_at` (monotonic seconds).
        Returns whether there is more to do. Does nothing if another process writes."""
        after = FIRST
        try:
            while (taken := self._queue.take(self._token, after, BATCH)) is not None:
                if taken.entries:
                    self._write(taken)
                    after = taken.entries[-1].entry_id
                if len(taken.entries) < BATCH and not self._walk(taken):
                    return False
                if time.monotonic() >= ends_at:
                    return True
        finally:
            with suppress(PresenceError):
                self._queue.leave(self._token)
        return False

    def _write(self, taken: Unstored) -> None:
        """Write a batch, and remove it from the queue. What must wait stays there."""
        transitions: dict[str, RecordedTransition] = {}
        done: list[str] = []
        for entry in taken.entries:
            content = entry.content
            if isinstance(content, RecordedTransition):
                transitions[entry.entry_id] = content
            elif not isinstance(content, NewerVersion):  # a newer worker can read that
                log.warning(DROPPED, entry.entry_id, content)
                done.append(entry.entry_id)
        stored = self._store_or_split(list(transitions.values()))
        waiting = self._waiting(set(transitions.values()) - stored, taken.now)
        done += [key for key, one in transitions.items() if one not in waiting]
        self._queue.done(done)

    def _store_or_split(
        self, transitions: list[RecordedTransition]
    ) -> set[RecordedTransition]:
        """Write `transitions`. If the database refuses one of them, write each alone,
        and log those that are refused even then. Returns all but those of users who are
        not stored."""
        try:
            return self._store(transitions)
        except Exception as error:
            if not _is_refused(error):
                raise
            if len(transitions) > 1:
                return {
                    one for each in transitions for one in self._store_or_split([each])
                }
            log.warning(DROPPED, transitions[0], error_text(error))
            return set(transitions)

    def _store(self, transitions: list[RecordedTransition]) -> set[RecordedTransition]:
        """Write `transitions` in one transaction. Returns those of stored users."""
        if not transitions:
            return set()
        with self._sessions() as session:
            held = hold_users(session, {one.user_id for one in transitions})
            to_write = {one for one in transitions if one.user_id in held}
            put_last_seen(session, to_write)
            if self._keeps_sessions:
                sessions.add_transitions(session, to_write)
            session.commit()
        return to_write

    def _waiting(
        self, of_unknown: set[RecordedTransition], now: int
    ) -> set[RecordedTransition]:
        """Those transitions of users who are not stored that must wait: a gateway may
        still be storing the user."""
        if not of_unknown:
            return set()
        online = self._presence.online({one.user_id for one in of_unknown})
        return {
            one
            for one in of_unknown
            if online[one.user_id] or now - one.version < WAIT_FOR_USER_MS
        }

    def _walk(self, taken: Unstored) -> bool:
        """Compare the next page of all users with Redis, if a walk is due. Returns
        whether the walk goes on. It waits until all gateways have registered, because
        until then users seem to be offline."""
        goal = f"{taken.epoch}{WITH_SESSIONS * self._keeps_sessions}"
        if taken.walk == goal or not self._presence.is_settled():
            return False
        walking, _, after = taken.walk.partition(" ")
        shards = len(self._presence.shards)
        with self._database.connect() as reader:
            page = users_page(reader, after if walking == goal else "", BATCH * shards)
            users = [
                one.id
                for one in page.items
                if shard_number(one.id, shards) == self._shard
            ]
            stored = newest_stored(reader, users)
        statuses = self._presence.read_statuses(users).found
        found = (
            newest_transition(statuses[one], stored.get(one), taken.epoch)
            for one in users
        )
        self._store_or_split([one for one in found if one is not None])
        self._queue.walked(
            taken.walk, goal if page.next is None else f"{goal} {page.next}"
        )
        return page.next is not None


def _is_refused(error: Exception) -> bool:
    """Whether the database works, but refuses the values of a row."""
    return isinstance(error, DataError | IntegrityError | OverflowError)
