"""Turns changes into one message per gateway: audience -> gateways -> messages.

A batch costs one relations query and two round trips to Redis, whatever its size; only
one where there are few gateways, which are all told without asking who is where.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from models.events import EVERYBODY, Delivery, GatewayMessage, Transition
from models.identifiers import count_ids, joined_ids
from models.presence import Presence, PresenceUnavailable
from models.presence.rules import newest_per_user
from models.sql.audience import audiences, relevant_users, taken_apart
from models.sql.statements import Reader

MOST_AT_ONCE = 5_000
"""Introductions of one message: a conversation of a thousand makes a million of them,
and a gateway serves nobody else while it tells those of one message."""


def fan_out(
    presence: Presence, reader: Reader, transitions: Iterable[Transition]
) -> dict[int, PresenceUnavailable]:
    """Tell everybody who is relevant to the users of `transitions` and holds a
    connection. Of each user only the newest transition counts.

    Returns which shards did not answer, and why: their users were not told, nor those
    of the gateways whose messages lie there.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away; nothing was published.
    """
    newest = newest_per_user(transitions)
    told = audiences(reader, [change.user_id for change in newest])
    if presence.gateway_streams.is_cheaper_to_all(sum(map(count_ids, told.values()))):
        return presence.gateway_streams.publish_to_all(
            Delivery(transition, recipients)
            for transition in newest
            if (recipients := told[transition.user_id])
        )
    audience = taken_apart(told)
    held, away = presence.gateway_streams.holders_where_possible(
        set().union(*audience.values())
    )
    not_told = presence.gateway_streams.publish_where_possible(
        {
            gateway_id: GatewayMessage(transitions=deliveries)
            for gateway_id, deliveries in _deliveries(newest, audience, held).items()
        }
    )
    return {**away, **not_told}


def refresh_all(presence: Presence) -> None:
    """Have every gateway send fresh snapshots to all: somebody has missed news.

    Raises:
        PresenceUnavailable: some shard is still away.
    """
    _tell_every_gateway(presence, GatewayMessage(snapshots=(EVERYBODY,)))


def introduce(
    presence: Presence, reader: Reader, pairs: Collection[tuple[str, str]]
) -> None:
    """Tell both users of each pair the present status of the other, where they are
    relevant to each other. Costs nothing for pairs of whom nobody is connected.

    Raises:
        PresenceUnavailable: a shard is away; maybe nobody was told.
        sqlalchemy.exc.SQLAlchemyError: the database is away; nobody was told.
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
    present = [status.as_transition() for status in presence.statuses(audience)]
    for part in _parts(present, audience):
        presence.gateway_streams.publish(
            {
                gateway_id: GatewayMessage(introductions=deliveries)
                for gateway_id, deliveries in _deliveries(part, audience, held).items()
            }
        )


def refresh(presence: Presence, user_ids: Iterable[str]) -> None:
    """Have the gateways send a fresh snapshot to those of `user_ids` they hold."""
    held = presence.gateway_streams.holders(user_ids)
    presence.gateway_streams.publish(
        {
            gateway_id: GatewayMessage(snapshots=tuple(sorted(users)))
            for gateway_id, users in held.items()
        }
    )


def disconnect(presence: Presence, user_ids: Iterable[str]) -> None:
    """Have every socket of `user_ids` closed. All gateways are told, for one may hold a
    socket that Redis has lost."""
    _tell_every_gateway(presence, GatewayMessage(disconnects=tuple(sorted(user_ids))))


def _tell_every_gateway(presence: Presence, message: GatewayMessage) -> None:
    presence.gateway_streams.publish(
        dict.fromkeys(presence.gateway_streams.gateway_ids(), message)
    )


def _parts(
    transitions: Iterable[Transition], audience: Mapping[str, set[str]]
) -> Iterator[list[Transition]]:
    """`transitions` in parts that a gateway tells without a pause."""
    part: list[Transition] = []
    told = 0
    for transition in transitions:
        part.append(transition)
        told += len(audience[transition.user_id])
        if told >= MOST_AT_ONCE:
            yield part
            part, told = [], 0
    if part:
        yield part


def _deliveries(
    transitions: Iterable[Transition],
    audience: Mapping[str, set[str]],
    held: Mapping[str, set[str]],
) -> dict[str, tuple[Delivery, ...]]:
    """What each gateway is to deliver to those whom it holds. Costs what is named, not
    the number of gateways."""
    gateways: dict[str, list[str]] = {}
    for gateway_id, users in held.items():
        for user_id in users:
            gateways.setdefault(user_id, []).append(gateway_id)
    found: dict[str, list[Delivery]] = {}
    for transition in transitions:
        recipients: dict[str, list[str]] = {}
        for user_id in audience[transition.user_id]:
            for gateway_id in gateways.get(user_id, ()):
                recipients.setdefault(gateway_id, []).append(user_id)
        for gateway_id, here in recipients.items():
            delivery = Delivery(transition, joined_ids(here))
            found.setdefault(gateway_id, []).append(delivery)
    return {gateway_id: tuple(deliveries) for gateway_id, deliveries in found.items()}
