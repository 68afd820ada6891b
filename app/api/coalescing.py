"""The status maps that applications load at start, read for many callers at once.

While one read is running, more callers gather. The next read serves all of them with
two queries and one round trip to Redis. So if all clients of an application load at the
same time, only a few reads are needed. A caller that comes alone does not wait.

A read starts only after its last caller has joined. So each caller gets a state that is
newer than its request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson

from models.presence import Presence
from models.sql.db import PersistentReader
from models.sql.statements import Reader
from models.sql.visibility import views_of_viewers

MAX_AT_ONCE = 20
"""The most callers of one read. If each has 500 related users, the rest of this process
waits about 5 ms for a read."""

Related = Callable[[Reader, Iterable[str]], Mapping[str, set[str]]]
"""Reads the related users of each of many users, as in `models.sql.audience`."""


@dataclass(frozen=True, slots=True)
class StatusMap:
    """Which of a user's related users are online. `body` is the JSON answer:
    `{"data": {"statuses": {"user id": true}}}`. It is encoded once for all callers that
    ask for the same user."""

    body: bytes
    is_empty: bool


class _Read:
    """One read with its callers."""

    __slots__ = ("callers", "found", "is_over", "since", "user_ids")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.user_ids: set[str] = set()
        self.callers = 0
        self.found: dict[str, StatusMap | Exception] = {}
        self.is_over = threading.Event()


class CoalescedReads:
    """Status maps of one relation: of friends, or of conversation partners."""

    def __init__(
        self,
        presence: Presence,
        database: PersistentReader,
        related: Related,
    ) -> None:
        self._presence = presence
        self._database = database
        self._related = related
        self._next: _Read | None = None
        self._failure: Exception | None = None
        self._failed_at = 0.0
        self._gathering = threading.Lock()
        self._reading = threading.Lock()

    def status_map(self, user_id: str) -> StatusMap:
        """Which of the users related to `user_id` are online.

        Raises:
            PresenceUnavailable: the shard of one of them does not answer.
            sqlalchemy.exc.SQLAlchemyError: the database is down.
        """
        found = None
        while found is None:  # None if the caller that made the read was killed
            read, is_first = self._join(user_id)
            if is_first:
                self._perform(read)
            else:
                read.is_over.wait()
            found = read.found.get(user_id)
        if isinstance(found, Exception):
            # Many callers raise the same error. Only the caller that made the read
            # keeps the traceback.
            raise found if is_first else found.with_traceback(None)
        return found

    def _join(self, user_id: str) -> tuple[_Read, bool]:
        """Join the next read. Also returns True if this is its first caller, which must
        perform the read."""
        with self._gathering:
            read = self._next
            is_first = read is None
            if read is None:
                read = self._next = _Read()
            read.user_ids.add(user_id)
            read.callers += 1
            if read.callers >= MAX_AT_ONCE:
                self._next = None
            return read, is_first

    def _perform(self, read: _Read) -> None:
        try:
            with self._reading:
                self._gather(read)
                self._close(read)
                read.found = self._failed_since(read) or self._read(read.user_ids)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            read.found = dict.fromkeys(read.user_ids, error)
            self._fail(error)
        finally:
            self._close(read)
            read.is_over.set()

    def _gather(self, read: _Read) -> None:
        """Yield to callers that come at the same time, until no more of them join."""
        callers = 0
        while callers < read.callers < MAX_AT_ONCE:
            callers = read.callers
            time.sleep(0)

    def _fail(self, error: Exception) -> None:
        """A read has failed. All callers that have joined by now get this error."""
        self._failure, self._failed_at = error, time.monotonic()

    def _failed_since(self, read: _Read) -> dict[str, StatusMap | Exception]:
        """If another read failed after `read` was made: its error, for all callers of
        `read`. A failing attempt takes seconds. Without this, the last of many callers
        would wait for the attempts of all the others."""
        if self._failure is None or read.since >= self._failed_at:
            return {}
        return dict.fromkeys(read.user_ids, self._failure)

    def _close(self, read: _Read) -> None:
        """Let no more callers join `read`."""
        with self._gathering:
            if self._next is read:
                self._next = None

    def _read(self, user_ids: set[str]) -> dict[str, StatusMap | Exception]:
        related, views = self._database.read(
            lambda reader: (
                self._related(reader, user_ids),
                views_of_viewers(
                    reader, sorted(user_ids), may_hide=self._presence.may_hide
                ),
            )
        )
        everybody = set().union(*related.values())
        online, unknown = self._presence.online_where_possible(everybody)
        if unknown and len(unknown) == len(everybody):
            self._fail(next(iter(unknown.values())))
        return {
            user_id: _status_map(others, online - views.hidden_from(user_id), unknown)
            for user_id, others in related.items()
        }


def _status_map(
    others: set[str], online: set[str], unknown: Mapping[str, Exception]
) -> StatusMap | Exception:
    if unknown:
        # Only callers with a related user in a shard that is down get the error.
        for other in unknown.keys() & others:
            return unknown[other]
    statuses = dict.fromkeys(others, False)
    statuses.update(dict.fromkeys(others & online, True))
    answer = {"data": {"statuses": statuses}}
    body = orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)
    return StatusMap(body, is_empty=not others)
