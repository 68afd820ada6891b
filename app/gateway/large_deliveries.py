"""Delivers events to large audiences in small pieces, so that other work goes on.

Telling one friend takes about 15 us. A user whom 100,000 others may see would block the
process for more than a second. Heartbeats and handshakes would wait. So an event for
many recipients waits here. A loop writes to 50 recipients, then sleeps for as long as
that took. If it then wakes up late, the core has other work, and it sleeps longer.

All events about one user keep their order: while one of them waits here, later ones
wait behind it. If two changes of status would wait, only the newer one does. So a user
who comes and goes faster than the audience can be told needs no more and more memory.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gevent
from gevent.event import Event

from app.gateway.snapshot_filter import StatusEvent
from models.batches import batches
from models.identifiers import count_ids

LARGE = 1_000
"""An event whose message names more recipients waits here. With few gateways, a message
names the recipients of all gateways."""
PIECE = 50
"""Recipients who are told in one step: less than 1 ms."""
LATE_FACTOR = 2
"""If a wake-up is late by some time, the next sleep is longer by this many times that
time. Several gateways on one core would otherwise take all of it for large
audiences."""
MAX_SLEEP = 0.05
"""The longest sleep in seconds. So about 1,000 recipients are told in a second even
then."""
MAX_WAITING = 1_000_000
"""The most recipients of all events that wait here. Beyond this limit, an event is
delivered immediately, unless an earlier event of the same user waits. This limits
memory."""


class _Waiting(NamedTuple):
    event: StatusEvent
    size: int
    pieces: Iterator[list[str]]


class LargeDeliveries:
    """The events that wait. `recipients_here` gives those of the joined ids who are
    connected to this process; it is called when the first piece is due. `tell` tells
    one event to some recipients; its last argument says whether they are the last."""

    def __init__(
        self,
        recipients_here: Callable[[str], list[str]],
        tell: Callable[[StatusEvent, list[str], bool], None],
    ) -> None:
        self._recipients_here = recipients_here
        self._tell = tell
        self._waiting: deque[_Waiting] = deque()
        self._waiting_about: Counter[str] = Counter()
        self._size = 0
        self._has_work = Event()
        self._due_at: float | None = None

    def queue_if_large(self, event: StatusEvent, recipients: str) -> bool:
        """Queue `event` for `recipients`, which have the form of `joined_ids`. Returns
        False if it was not queued. Then the caller delivers it now."""
        size = count_ids(recipients)
        if self._replace(event, recipients, size):
            return True
        if event.user_id not in self._waiting_about and (
            size <= LARGE or self._size + size > MAX_WAITING
        ):
            return False
        self._waiting.append(_Waiting(event, size, self._pieces(recipients)))
        self._waiting_about[event.user_id] += 1
        self._size += size
        self._has_work.set()
        return True

    def step(self) -> None:
        """Wait for work, and tell one piece. Then sleep, so that other work goes on."""
        self._has_work.wait()
        started = time.monotonic()
        late = 0.0 if self._due_at is None else started - self._due_at
        event, size, pieces = self._waiting[0]
        piece = next(pieces, [])
        is_last = len(piece) < PIECE
        if is_last:
            self._waiting.popleft()
            self._size -= size
            self._waiting_about[event.user_id] -= 1
            if not self._waiting_about[event.user_id]:
                del self._waiting_about[event.user_id]
            if not self._waiting:
                self._has_work.clear()
        self._tell(event, piece, is_last)
        now = time.monotonic()
        sleep = min(now - started + LATE_FACTOR * max(0.0, late), MAX_SLEEP)
        self._due_at = now + sleep if self._waiting else None
        gevent.sleep(sleep)

    def _replace(self, event: StatusEvent, recipients: str, size: int) -> bool:
        """If the last waiting event of the same user is a change of status like
        `event`, and nobody was told of it yet, put `event` in its place. Returns
        whether that was so."""
        if event.user_id not in self._waiting_about or not _is_plain(event):
            return False
        # The first one may have been told to some recipients.
        for place in range(len(self._waiting) - 1, 0, -1):
            older = self._waiting[place]
            if older.event.user_id == event.user_id:
                if not _is_plain(older.event):
                    return False
                self._waiting[place] = _Waiting(event, size, self._pieces(recipients))
                self._size += size - older.size
                return True
        return False

    def _pieces(self, recipients: str) -> Iterator[list[str]]:
        yield from batches(self._recipients_here(recipients), PIECE)


def _is_plain(event: StatusEvent) -> bool:
    """Whether `event` is a change of status that the whole audience hears of."""
    return not (event.is_detail_only or event.is_introduction or event.for_viewers)
