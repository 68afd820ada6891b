"""Fan-out: turns changes into one message per gateway, by audience and gateway.

A batch of any size costs one relations query and two round trips to Redis. With few
gateways it costs one round trip: all gateways get the message, so there is no need to
ask which of them hold the audience.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from models.events import EVERYBODY, Delivery, GatewayMessage, Transition
from models.identifiers import count_ids, joined_ids
from models.presence import Presence, PresenceUnavailable
from models.presence.rules import newest_per_user
from models.sql.audience import audiences, relevant_users, split_audiences
from models.sql.statements import Reader

MAX_INTRODUCTIONS = 5_000
"""Introductions in one message. A conversation of a thousand users makes a million
introductions. While a gateway delivers those of one message, it does nothing else."""


def fan_out(
    presence: Presence, reader: Reader, transitions: Iterable[Transition]
) -> dict[int, PresenceUnavailable]:
    """Send `transitions` to the connected relevant users. Only the newest transition of
    each user is sent.

    Returns the shards that did not answer, and why. The users of these shards missed
    the transitions. So did the gateways whose streams are in these shards.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down; nothing was published.
    """
    newest = newest_per_user(transitions)
    joined = audiences(reader, [change.user_id for change in newest])
    ids = sum(map(count_ids, joined.values()))
    if presence.gateway_streams.is_cheaper_to_all(ids):
        return presence.gateway_streams.publish_to_all(
            Delivery(transition, recipients)
            for transition in newest
            if (recipients := joined[transition.user_id])
        )
    audience = split_audiences(joined)
    held, failed_shards = presence.gateway_streams.holders_where_possible(
        set().union(*audience.values())
    )
    not_published = presence.gateway_streams.publish_where_possible(
        {
            gateway_id: GatewayMessage(transitions=deliveries)
            for gateway_id, deliveries in _deliveries(newest, audience, held).items()
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
    present = [status.as_transition() for status in presence.statuses(audience)]
    for part in _parts(present, audience):
        presence.gateway_streams.publish(
            {
                gateway_id: GatewayMessage(introductions=deliveries)
                for gateway_id, deliveries in _deliveries(part, audience, held).items()
            }
        )


def refresh(presence: Presence, user_ids: Iterable[str]) -> None:
    """Have each gateway send a fresh snapshot to the users in `user_ids` that it
    holds."""
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


def _parts(
    transitions: Iterable[Transition], audience: Mapping[str, set[str]]
) -> Iterator[list[Transition]]:
    """`transitions` in parts of about MAX_INTRODUCTIONS recipients."""
    part: list[Transition] = []
    count = 0
    for transition in transitions:
        part.append(transition)
        count += len(audience[transition.user_id])
        if count >= MAX_INTRODUCTIONS:
            yield part
            part, count = [], 0
    if part:
        yield part


def _deliveries(
    transitions: Iterable[Transition],
    audience: Mapping[str, set[str]],
    held: Mapping[str, set[str]],
) -> dict[str, tuple[Delivery, ...]]:
    """What each gateway must deliver to the users that it holds. The cost depends on
    the number of users, and not on the number of gateways."""
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
