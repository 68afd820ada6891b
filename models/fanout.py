"""Fan-out: turns changes into one message per gateway, by audience and gateway.

A batch of any size costs two SQL queries, or three if some of its users have settings.
It costs two round trips to Redis. With few gateways it costs one: all gateways get the
message, so there is no need to ask which of them hold the audience.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from models.events import (
    EVERYBODY,
    Delivery,
    GatewayMessage,
    Transition,
    VisibilityChange,
)
from models.identifiers import count_ids, ids_in, joined_ids
from models.presence import Presence, PresenceUnavailable
from models.presence.rules import newest_per_user
from models.shown_statuses import Rules, ShownStatuses
from models.sql.audience import audiences, relevant_users, users_with_settings
from models.sql.statements import Reader
from models.sql.visibility import visible_to

MAX_INTRODUCTIONS = 5_000
"""Introductions in one message. A conversation of a thousand users makes a million
introductions. While a gateway delivers those of one message, it does nothing else."""


Addressed = tuple[Delivery, Collection[str]]
"""A delivery, and the ids of all its recipients on all gateways."""


def fan_out(
    presence: Presence,
    reader: Reader,
    changes: Iterable[Transition | VisibilityChange],
) -> dict[int, PresenceUnavailable]:
    """Send each transition to the users of its audience who may see it, and each change
    of visibility to its viewers. Only the newest transition of each user is sent.

    Returns the shards that did not answer, and why. The users of these shards missed
    the transitions. So did the gateways whose streams are in these shards.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down; nothing was published.
    """
    transitions: list[Transition] = []
    others: list[Delivery] = []
    for change in changes:
        if isinstance(change, Transition):
            transitions.append(change)
        else:
            others += change.deliveries()
    newest = newest_per_user(transitions)
    user_ids = [transition.user_id for transition in newest]
    joined = audiences(reader, user_ids)
    if with_settings := users_with_settings(reader, user_ids):
        visible = visible_to(reader, with_settings, may_hide=presence.may_hide)
        joined.update({key: joined_ids(sorted(who)) for key, who in visible.items()})
    deliveries = [
        Delivery(transition, recipients)
        for transition in newest
        if (recipients := joined[transition.user_id])
    ]
    if others:  # a client gets the events of one user in the order of their timestamps
        deliveries += others
        deliveries.sort(key=lambda delivery: delivery.transition.timestamp)
    ids = sum(count_ids(delivery.recipients) for delivery in deliveries)
    if presence.gateway_streams.is_cheaper_to_all(ids):
        return presence.gateway_streams.publish_to_all(deliveries)
    addressed = [(one, set(ids_in(one.recipients))) for one in deliveries]
    held, failed_shards = presence.gateway_streams.holders_where_possible(
        set().union(*(recipients for _, recipients in addressed))
    )
    not_published = presence.gateway_streams.publish_where_possible(
        {
            gateway_id: GatewayMessage(transitions=here)
            for gateway_id, here in _by_gateway(addressed, held).items()
        }
    )
    return {**failed_shards, **not_published}


def refresh_all(presence: Presence) -> None:
    """Have every gateway send fresh snapshots to all its users, because some have
    missed transitions.

    Raises:
        PresenceUnavailable: a shard did not answer.
    """
    _publish_to_every_gateway(presence, GatewayMessage(snapshots=(EVERYBODY,)))


def introduce(
    presence: Presence, reader: Reader, pairs: Collection[tuple[str, str]]
) -> None:
    """Send both users of each pair the present status of the other, if they are
    relevant to each other. A pair without a connected user costs nothing.

    Raises:
        PresenceUnavailable: a shard did not answer; maybe nothing was published.
        sqlalchemy.exc.SQLAlchemyError: the database is down; nothing was published.
    """
    held = presence.gateway_streams.holders(
        {user_id for pair in pairs for user_id in pair}
    )
    connected = set().union(*held.values())
    audience: dict[str, set[str]] = {}
    for pair in pairs:
        for viewer, subject in (pair, pair[::-1]):
            if viewer in connected:
                audience.setdefault(subject, set()).add(viewer)
    for subject, relevant in relevant_users(reader, audience).items():
        audience[subject] &= relevant
    rules = Rules.read(reader, connected, may_hide=presence.may_hide)
    statuses = presence.read_statuses(audience)
    shown = ShownStatuses(rules, statuses)
    addressed = [
        (Delivery(status.as_transition(), recipients=""), viewers)
        for subject, viewers_of_it in audience.items()
        for status, viewers in shown.by_status(subject, viewers_of_it).items()
    ]
    for part in _parts(addressed):
        presence.gateway_streams.publish(
            {
                gateway_id: GatewayMessage(introductions=here)
                for gateway_id, here in _by_gateway(part, held).items()
            }
        )


def tell_devices(presence: Presence, user_id: str, event: bytes) -> None:
    """Send `event` to every socket of `user_id`.

    Raises:
        PresenceUnavailable: a shard did not answer; some sockets may have it.
    """
    held = presence.gateway_streams.holders([user_id])
    message = GatewayMessage(own=((user_id, event.decode()),))
    presence.gateway_streams.publish(dict.fromkeys(held, message))


def refresh(presence: Presence, user_ids: Iterable[str]) -> None:
    """Have each gateway send a fresh snapshot to those of `user_ids` that it holds."""
    held = presence.gateway_streams.holders(user_ids)
    presence.gateway_streams.publish(
        {
            gateway_id: GatewayMessage(snapshots=tuple(sorted(users)))
            for gateway_id, users in held.items()
        }
    )


def disconnect(presence: Presence, user_ids: Iterable[str]) -> None:
    """Have every socket of `user_ids` closed. The message goes to all gateways, because
    one may hold a socket that Redis has lost."""
    _publish_to_every_gateway(
        presence, GatewayMessage(disconnects=tuple(sorted(user_ids)))
    )


def _publish_to_every_gateway(presence: Presence, message: GatewayMessage) -> None:
    presence.gateway_streams.publish(
        dict.fromkeys(presence.gateway_streams.gateway_ids(), message)
    )


def _parts(addressed: Iterable[Addressed]) -> Iterator[list[Addressed]]:
    """`addressed` in parts of about MAX_INTRODUCTIONS recipients."""
    part: list[Addressed] = []
    count = 0
    for one in addressed:
        part.append(one)
        count += len(one[1])
        if count >= MAX_INTRODUCTIONS:
            yield part
            part, count = [], 0
    if part:
        yield part


def _by_gateway(
    addressed: Iterable[Addressed], held: Mapping[str, set[str]]
) -> dict[str, tuple[Delivery, ...]]:
    """What each gateway must deliver to the users that it holds. The cost depends on
    the number of users, and not on the number of gateways."""
    gateways: dict[str, list[str]] = {}
    for gateway_id, users in held.items():
        for user_id in users:
            gateways.setdefault(user_id, []).append(gateway_id)
    found: dict[str, list[Delivery]] = {}
    for delivery, recipients in addressed:
        by_gateway: dict[str, list[str]] = {}
        for user_id in recipients:
            for gateway_id in gateways.get(user_id, ()):
                by_gateway.setdefault(gateway_id, []).append(user_id)
        for gateway_id, here in by_gateway.items():
            part = replace(delivery, recipients=joined_ids(here))
            found.setdefault(gateway_id, []).append(part)
    return {gateway_id: tuple(parts) for gateway_id, parts in found.items()}
