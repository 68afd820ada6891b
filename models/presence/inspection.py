"""All that Redis knows about one user, for debugging: `Presence.inspect` reads it.

A connection id is `gateway:number`. The number says when the connection was opened, so
this time is stored nowhere else: see `new_number`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from models.events import MAX_TIMESTAMP, Status, UserStatus
from models.presence.replies import full_status, time_of
from models.visibility import Clock

RELEASED = ":released"
"""What follows the id of a closed connection in its grace; as in clock.lua."""
MAX_WAITING = 1_000
"""Entries of the outbox that an inspection looks through."""
_OLDEST_TIME = 2**40
"""A smaller number is no time (ms): gateways of older versions counted from 1."""


def new_number(last: int, now: int) -> int:
    """The number of a gateway's next connection: the time `now` (ms), but greater than
    `last`, the number of the connection before."""
    return max(last + 1, now)


def connection_id(gateway: str, number: int) -> str:
    """The id of the connection `number` of `gateway`. The number is hexadecimal, since
    Redis stores long ids less compactly."""
    return f"{gateway}:{number:x}"


def opened_at(connection: str) -> int | None:
    """When `connection` was opened (ms), by the clock of its gateway. None if its id
    does not say so, because a gateway of an older version has made it."""
    _, _, text = connection.rpartition(":")
    try:
        number = int(text, 16)
    except ValueError:
        return None
    return number if _OLDEST_TIME <= number < MAX_TIMESTAMP else None


@dataclass(frozen=True, slots=True)
class HeldConnection:
    """A connection that Redis knows. Times are ms."""

    gateway: str
    opened_at: int | None
    """By the clock of the gateway. None if it is not known."""
    last_heartbeat: int | None
    """None if the connection is closed: Redis then knows only when the grace ends."""
    deadline: int
    in_grace: bool
    """Whether the connection is closed, and counts until its deadline."""
    idle: bool


@dataclass(frozen=True, slots=True)
class KnownTransition:
    """A transition of the user. `timestamp` is ms."""

    status: Status
    timestamp: int
    waiting: bool
    """Whether it is still in the outbox. Then viewers may not have been told yet."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that Redis knows about one user."""

    status: UserStatus
    clock: Clock
    connections: tuple[HeldConnection, ...]
    """The latest deadline last."""
    transitions: tuple[KnownTransition, ...]
    """The newest transition, and older ones that still wait in the outbox. The newest
    first."""


def inspection_of(
    user_id: str, reply: Sequence[Any], *, online_ttl: int, offline_ttl: int
) -> Inspection:
    """The reply of inspect.lua as an inspection. The TTLs are ms."""
    now, epoch, real, stored, held, waiting = reply
    newest, newest_at, idle = stored
    return Inspection(
        full_status(user_id, *real),
        Clock(int(now), time_of(epoch) or 0, offline_ttl),
        tuple(_connections(held, set((idle or "").split()), online_ttl)),
        tuple(_transitions((newest, newest_at), waiting)),
    )


def _connections(
    held: Sequence[Any], idle: set[str], online_ttl: int
) -> Iterator[HeldConnection]:
    for stored, score in zip(held[::2], held[1::2], strict=True):
        name, deadline = stored.removesuffix(RELEASED), int(float(score))
        in_grace = name != stored
        yield HeldConnection(
            gateway=name.rpartition(":")[0],
            opened_at=opened_at(name),
            last_heartbeat=None if in_grace else deadline - online_ttl,
            deadline=deadline,
            in_grace=in_grace,
            idle=name in idle,
        )


def _transitions(
    newest: tuple[str | None, str | None], waiting: Sequence[str]
) -> list[KnownTransition]:
    found: dict[int, KnownTransition] = {}
    pairs = [(*newest, False), *zip(waiting[::2], waiting[1::2], repeat(True))]  # noqa: FBT003
    for status, text, waits in pairs:
        timestamp = time_of(text)
        if timestamp is None or status not in {"online", "offline"}:
            continue
        known: Status = "online" if status == "online" else "offline"
        found[timestamp] = KnownTransition(known, timestamp, waits)
    return sorted(found.values(), key=lambda one: one.timestamp, reverse=True)
