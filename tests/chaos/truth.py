"""The model: who really is online. Everything else is compared with it.

A user is online while one of their devices wants to be. That is known here, because the
devices are ours. The checks hold when nothing has come or gone for a while; what was
announced meanwhile is judged in `judgement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import redis

from models.presence import Keys
from tests.chaos.device import Device
from tests.chaos.witness import Witness

KEYS = Keys()
RELEASED = ":released"


def online_users(devices: Iterable[Device]) -> set[str]:
    """The users who really are online."""
    return {device.user_id for device in devices if device.wanted}


# When all is quiet


def check_clients(
    devices: Iterable[Device], relevant: Mapping[str, frozenset[str]], witness: Witness
) -> list[str]:
    """What is wrong in the devices' own maps, a line each."""
    devices = list(devices)
    online = online_users(devices)
    problems = []
    for device in devices:
        if not device.wanted:
            continue
        span = device.span
        if span is None or span.snapshot_at is None:
            problems.append(f"{device.name} is not connected: {device.trouble}")
            continue
        if span.statuses.keys() != relevant[device.user_id]:
            differ = sorted(span.statuses.keys() ^ relevant[device.user_id])
            problems.append(
                f"{device.name} at {span.connection_id} differs in {differ}"
            )
        for user_id, (status, timestamp) in span.statuses.items():
            really = "online" if user_id in online else "offline"
            if status != really:
                problems.append(
                    f"{device.name} at {span.connection_id} (opened {span.opened_at}, "
                    f"snapshot {span.snapshot_at}) sees {user_id} {status} since "
                    f"{timestamp}, but {user_id} is {really}; last transition: "
                    f"{witness.newest(user_id)}"
                )
    return problems


def missed(
    devices: Iterable[Device], relevant: Mapping[str, frozenset[str]], witness: Witness
) -> list[str]:
    """Real changes that a connected relevant device got neither as an event nor in a
    snapshot. Of each user the last change counts: earlier ones may be passed over."""
    problems = []
    for device in devices:
        span = device.span
        if not device.wanted or span is None or span.snapshot_at is None:
            continue
        for user_id in relevant[device.user_id]:
            change = witness.newest(user_id)
            if change is None or change.timestamp <= span.snapshot_at * 1000:
                continue
            if span.statuses.get(user_id, ("", 0))[1] < change.timestamp:
                problems.append(f"{device.name} at {span.connection_id}: {change}")
    return problems


@dataclass(frozen=True)
class Expected:
    """What Redis should hold."""

    connected: dict[str, set[str]]
    """The connection ids of each user who is online."""
    held: dict[str, set[str]]
    """The users of each gateway process."""

    @classmethod
    def of(cls, devices: Iterable[Device]) -> Expected:
        """What it should hold for these devices."""
        found = cls({}, {})
        for device in devices:
            if device.wanted:
                ids = found.connected.setdefault(device.user_id, set())
                if device.span is not None:
                    ids.add(device.span.connection_id)
                    users = found.held.setdefault(device.span.gateway, set())
                    users.add(device.user_id)
        return found


def check_host(devices: Iterable[Device], believed: Mapping[str, str]) -> list[str]:
    """What is wrong in the map of a host that hears webhooks, a line each. It need not
    know a user who was never online."""
    online = online_users(devices)
    return [
        f"the host believes that {user_id} is {believed.get(user_id, 'offline')}"
        for user_id in sorted(online | believed.keys())
        if (believed.get(user_id) == "online") != (user_id in online)
    ]


def check_redis(state: State, expected: Expected) -> list[str]:
    """What Redis holds and should not, or the other way round, a line each."""
    connected, held = expected.connected, expected.held
    problems = [
        *_compare(KEYS.online_users, state.online, set(connected)),
        *_compare(KEYS.deadlines, state.deadlines, set(connected)),
        # One that lives may hold nobody: its clients may all have gone to another.
        *_compare(KEYS.gateways, state.gateways & set(held), set(held)),
        *(f"the gateway {gateway} is dead" for gateway in sorted(state.dead)),
    ]
    if state.outbox:
        problems.append(f"{state.outbox} transitions are still in the outbox")
    for gateway, users in held.items():
        # Too many cost a message in vain: an older state may bring back users that a
        # gateway has forgotten. Too few would miss events.
        found = state.users_of[gateway] & users
        problems += _compare(KEYS.gateway_users(gateway), found, users)
    for user_id, status in state.statuses.items():
        key = KEYS.user_status(user_id)
        right = {"online"} if user_id in connected else {"offline", None}
        if status not in right:
            problems.append(f"{key} says {status}, not {right}")
    for user_id, ids in state.connections.items():
        key = KEYS.user_connections(user_id)
        problems += _compare(key, ids, connected.get(user_id, set()))
    return problems


@dataclass(frozen=True)
class State:
    """What Redis holds: only what still counts."""

    online: set[str]
    deadlines: set[str]
    gateways: set[str]
    dead: set[str]
    """Gateways that are known though their deadline has passed."""
    outbox: int
    users_of: dict[str, set[str]]
    statuses: dict[str, str | None]
    connections: dict[str, set[str]]


def read_redis(
    client: redis.Redis, users: Sequence[str], gateways: Iterable[str]
) -> State:
    """What Redis holds of these users and gateways, all at one moment."""
    gateways = list(gateways)
    with client.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.smembers(KEYS.online_users)
        pipe.zrange(KEYS.deadlines, 0, -1, withscores=True)
        pipe.zrange(KEYS.gateways, 0, -1, withscores=True)
        pipe.xlen(KEYS.transitions)
        for gateway in gateways:
            pipe.smembers(KEYS.gateway_users(gateway))
        for user_id in users:
            pipe.hget(KEYS.user_status(user_id), "status")
        for user_id in users:
            pipe.zrange(KEYS.user_connections(user_id), 0, -1, withscores=True)
        time, online, deadlines, known, outbox, *rest = pipe.execute()
    now = time[0] * 1000 + time[1] // 1000
    sets, rest = rest[: len(gateways)], rest[len(gateways) :]
    hashes, members = rest[: len(users)], rest[len(users) :]
    return State(
        online,
        {user_id for user_id, deadline in deadlines if deadline > now},
        {gateway for gateway, deadline in known if deadline > now},
        {gateway for gateway, deadline in known if deadline <= now},
        outbox,
        dict(zip(gateways, sets, strict=True)),
        dict(zip(users, hashes, strict=True)),
        {
            user_id: {
                connection_id
                for connection_id, deadline in of_user
                if deadline > now and not connection_id.endswith(RELEASED)
            }
            for user_id, of_user in zip(users, members, strict=True)
        },
    )


def _compare(what: str, found: set[str], expected: set[str]) -> list[str]:
    if found == expected:
        return []
    more, less = sorted(found - expected), sorted(expected - found)
    return [f"{what} has {more} too many and lacks {less}"]
