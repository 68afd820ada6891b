"""The tasks that tell gateways of changes. Thin: plain values in, safe to repeat.

`drain_transitions` empties the outbox. It is asked for by the process whose script call
found nobody draining, and by beat as a safety net. One drainer works at a time; it stays
a while after the outbox is empty, so that under steady load no change waits for a task
of its own.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from celery import Task
from kombu.exceptions import OperationalError

from models.graph import GraphChange
from models.presence import Presence, PresenceUnavailable
from tasks import fanout, resources
from tasks.celery_app import celery

log = logging.getLogger(__name__)

BATCH = 500
"""Transitions of one fan-out."""
LINGER_MS = 1000
"""How long a drainer waits for more before it stops."""
TURN = 3.0
"""Seconds after which a drainer makes room for other tasks, and is sent again."""
KICK_EXPIRES = 10
"""Seconds after which an asked-for drain is worthless: beat has made another."""
PAIRS_PER_TASK = 1000


@celery.task(name="tasks.broadcast.drain_transitions")
def drain_transitions() -> None:
    """Broadcast what is in the outbox, and what comes while at it."""
    if drain(resources.presence()):
        kick()


@celery.task(name="tasks.broadcast.introduce")
def introduce(pairs: list[tuple[str, str]]) -> None:
    """Tell both users of each pair the present status of the other."""
    with resources.sessions()() as session:
        fanout.introduce(
            resources.presence(), session, [(one, other) for one, other in pairs]
        )


@celery.task(name="tasks.broadcast.refresh")
def refresh(user_ids: list[str]) -> None:
    """Send a fresh snapshot to `user_ids`, whose audience has shrunk."""
    fanout.refresh(resources.presence(), user_ids)


@celery.task(name="tasks.broadcast.disconnect")
def disconnect(user_ids: list[str]) -> None:
    """Close every socket of `user_ids`."""
    fanout.disconnect(resources.presence(), user_ids)


def drain(presence: Presence) -> bool:
    """Drain the outbox until it stays empty. Returns whether there may be more to do.

    An entry is acknowledged only after it was published: a drainer that dies in between
    leaves it to the next one, and the repeat is harmless since the newest timestamp
    wins.
    """
    token = secrets.token_hex(8)
    ends = time.monotonic() + TURN
    finished = True
    while presence.outbox.hold(token):
        finished = False
        try:
            entries = presence.outbox.read(BATCH, LINGER_MS)
            if entries:
                with resources.sessions()() as session:
                    fanout.fan_out(
                        presence, session, [entry.transition for entry in entries]
                    )
                presence.outbox.acknowledge(entries)
            elif presence.outbox.leave(token):
                finished = True
        except BaseException:
            _leave(presence, token)
            raise
        if finished or time.monotonic() >= ends:
            break
    if not finished:
        _leave(presence, token)
    return not finished


def _leave(presence: Presence, token: str) -> None:
    try:
        presence.outbox.leave(token, unfinished=True)
    except PresenceUnavailable:
        log.warning("the drainer's lease runs out by itself: Redis is away")


def kick() -> bool:
    """Ask for a drain of the outbox. False where the broker is away: beat asks again."""
    return _send(drain_transitions, expires=KICK_EXPIRES)


def announce_graph_change(change: GraphChange) -> None:
    """Tell the users whose relations changed. Call it after the commit."""
    for pairs in _chunks(sorted(change.gained), PAIRS_PER_TASK):
        _send(introduce, pairs)
    lost = sorted({user_id for pair in change.lost for user_id in pair})
    for user_ids in _chunks(lost, PAIRS_PER_TASK):
        _send(refresh, user_ids)


def disconnect_user(user_id: str) -> None:
    """Close every socket of `user_id`, wherever it is."""
    _send(disconnect, [user_id])


def _send(task: Task, *args: object, **options: Any) -> bool:  # noqa: ANN401 - options of apply_async
    try:
        task.apply_async(args, retry=False, **options)
    except OperationalError as error:
        log.warning("%s not sent, the broker is away: %s", task.name, error)
        return False
    return True


def _chunks(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
