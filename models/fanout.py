"""Fan-out: turns changes into one message per gateway, by audience and gateway.

A batch of any size costs two SQL queries, or four if some of its users have settings.
It costs two round trips to Redis. With few gateways it costs one: all gateways get the
message, so there is no need to ask which of them hold the audience.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from models.batches import batches
from models.detail import NO_LAYERS, Layers, detail_of, shows_activity
from models.events import (
    EVERYBODY,
    NEVER_IDLE,
    Activity,
    Delivery,
    Detail,
    DetailChange,
    GatewayMessage,
    Transition,
    UserStatus,
    VisibilityChange,
)
from models.identifiers import count_ids, ids_in, joined_ids
from models.presence import Presence, PresenceUnavailable
from models.presence.outbox import EntryContent
from models.presence.rules import newest_per_user
from models.shown_statuses import Rules, ShownStatuses
from models.sql.audience import audiences, relevant_pairs, users_with_settings
from models.sql.presence_settings import layers_of
from models.sql.statements import Reader
from models.sql.visibility import viewers_of

MAX_INTRODUCTIONS = 5_000
"""Introductions in one message. A conversation of a thousand users makes a million
introductions. While a gateway delivers those of one message, it does nothing else."""
MAX_DISCONNECTS = 1_000
"""Users in one message whose sockets are closed."""


Addressed = tuple[Delivery, Collection[str]]
"""A delivery, and the ids of all its recipients on all gateways."""


def fan_out(
    presence: Presence,
    reader: Reader,
    changes: Iterable[EntryContent],
    hand_over: Callable[[Mapping[Transition, int]], Collection[str]] | None = None,
) -> dict[int, PresenceUnavailable]:
    """Send each transition and each change of detail to the users of its audience who
    may see it, and each change of visibility to its viewers. Only the newest transition
    of each user is sent. `hand_over` is called with the number of users for each
    change that anyone may see. A change of detail counts as a transition there. It
    returns the users whose transitions and changes of detail must not be sent now.

    Returns the shards that did not answer, and why. The users of these shards missed
    the transitions. So did the gateways whose streams are in these shards.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is down; nothing was published.
    """
    deliveries = _deliveries(presence, reader, _Batch.of(changes))
    sizes = _sizes(deliveries)
    if hand_over is not None and (handed_over := hand_over(sizes)):
        deliveries = [
            one
            for one in deliveries
            if one.for_viewers or one.transition.user_id not in handed_over
        ]
        sizes = _sizes(deliveries)
    if presence.gateway_streams.is_cheaper_to_all(sizes.total()):
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


def _sizes(deliveries: Iterable[Delivery]) -> Counter[Transition]:
    """The number of recipients of each transition. It may have several deliveries."""
    sizes: Counter[Transition] = Counter()
    for delivery in deliveries:
        sizes[delivery.transition] += count_ids(delivery.recipients)
    return sizes


@dataclass(frozen=True, slots=True)
class _Batch:
    """The changes of one fan-out."""

    to_audience: list[_Announced]
    """By user, what all relevant users who see the user must hear."""
    to_viewers: list[VisibilityChange]

    @classmethod
    def of(cls, changes: Iterable[EntryContent]) -> Self:
        """Only the newest transition of each user counts. It shows the newest detail,
        so a change of detail before it is left out. A change after it is told too:
        clients that know the transition already drop it."""
        transitions: list[Transition] = []
        details: dict[str, DetailChange] = {}
        to_viewers: list[VisibilityChange] = []
        for change in changes:
            if isinstance(change, Transition):
                transitions.append(change)
                details.pop(change.user_id, None)
            elif isinstance(change, DetailChange):
                before = details.get(change.user_id)
                by_setting = change.by_setting or (
                    before is not None and before.by_setting
                )
                details[change.user_id] = replace(change, by_setting=by_setting)
            else:
                to_viewers.append(change)
        newest = newest_per_user(transitions)
        announced = []
        for transition in newest:
            detail = details.get(transition.user_id)
            activity = NEVER_IDLE if detail is None else detail.activity
            announced.append(_Announced(transition, activity))
        for detail in details.values():
            online = Transition(
                detail.user_id, "online", detail.timestamp, detail.cause
            )
            announced.append(_Announced(online, detail.activity, detail))
        return cls(announced, to_viewers)


class _Announced(NamedTuple):
    """A transition of a user, or with `update` only a change of the detail."""

    transition: Transition
    activity: Activity
    update: DetailChange | None = None


def _deliveries(presence: Presence, reader: Reader, batch: _Batch) -> list[Delivery]:
    """Who must be told what."""
    user_ids = {one.transition.user_id for one in batch.to_audience}
    joined = audiences(reader, user_ids)
    named = user_ids | {one.user_id for one in batch.to_viewers}
    layers: dict[str, Layers] = {}
    viewers: dict[str, dict[str, int]] = {}
    if with_settings := users_with_settings(reader, named):
        layers = layers_of(reader, with_settings)
        viewers = viewers_of(reader, layers, may_hide=presence.may_hide)
    deliveries: list[Delivery] = []
    for one in batch.to_audience:
        user_id = one.transition.user_id
        if user_id in layers:
            deliveries += _to_viewers(one, layers[user_id], viewers[user_id])
        elif recipients := joined[user_id]:
            deliveries.append(_delivery(one, recipients, NO_LAYERS))
    for change in batch.to_viewers:
        deliveries += _of_visibility(change, layers.get(change.user_id, NO_LAYERS))
    if batch.to_viewers:
        # A client gets the events of one user in the order of their timestamps.
        deliveries.sort(key=lambda delivery: delivery.transition.timestamp)
    return deliveries


def _to_viewers(
    one: _Announced, layers: Layers, viewers: Mapping[str, int]
) -> Iterator[Delivery]:
    """The deliveries to `viewers`. Each viewer sees the user since some time (ms). What
    the user did before stays hidden, even if it is drained late."""
    timestamp = one.transition.timestamp
    if (
        one.update
        and not one.update.by_setting
        and not shows_activity(layers, timestamp)
    ):
        return  # the user became idle or active, but is shown as what was set
    by_since: dict[int, list[str]] = {}
    for viewer, since in sorted(viewers.items()):
        if since <= timestamp:
            by_since.setdefault(since, []).append(viewer)
    by_delivery: dict[Delivery, list[str]] = {}
    for since, together in by_since.items():
        delivery = _delivery(one, "", layers, since)
        by_delivery.setdefault(delivery, []).extend(together)
    for delivery, together in by_delivery.items():
        yield replace(delivery, recipients=joined_ids(together))


def _delivery(
    one: _Announced, recipients: str, layers: Layers, visible_since: int = 0
) -> Delivery:
    if one.transition.status == "offline":
        return Delivery(one.transition, recipients)
    detail = _detail(one.transition, one.activity, layers, visible_since)
    return Delivery(
        one.transition, recipients, detail=detail, is_detail_only=one.update is not None
    )


def _of_visibility(change: VisibilityChange, layers: Layers) -> Iterator[Delivery]:
    """The events for viewers. The user hides from them, or becomes visible to them."""
    if change.offline_to:
        offline = Transition(change.user_id, "offline", change.timestamp, change.cause)
        yield Delivery(offline, change.offline_to, for_viewers=True)
    if change.online_to:
        online = Transition(change.user_id, "online", change.timestamp, change.cause)
        detail = _detail(online, change.activity, layers, change.timestamp)
        yield Delivery(online, change.online_to, for_viewers=True, detail=detail)


def _detail(
    online: Transition, activity: Activity, layers: Layers, visible_since: int
) -> Detail | None:
    """The detail of a user who is online. None stands for the plain one."""
    if layers is NO_LAYERS and activity is NEVER_IDLE:
        return None
    status = UserStatus(
        online.user_id,
        online=True,
        updated_at=online.timestamp,
        last_seen=None,
        activity=activity,
        visible_since=visible_since,
    )
    return detail_of(status, layers, online.timestamp)


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
    """Send both users of each pair (smaller id first) the present status of the other,
    if they are relevant to each other. A pair without a connected user costs nothing.

    Raises:
        PresenceUnavailable: a shard did not answer; maybe nothing was published.
        sqlalchemy.exc.SQLAlchemyError: the database is down; nothing was published.
    """
    held = presence.gateway_streams.holders(
        {user_id for pair in pairs for user_id in pair}
    )
    connected = set().union(*held.values())
    audience: dict[str, set[str]] = {}
    online = [pair for pair in pairs if not connected.isdisjoint(pair)]
    for pair in relevant_pairs(reader, online):
        for viewer, subject in (pair, pair[::-1]):
            if viewer in connected:
                audience.setdefault(subject, set()).add(viewer)
    # The layers before the rules: nobody is shown what a user sets while hiding.
    layers = layers_of(reader, audience)
    rules = Rules.read(reader, connected, may_hide=presence.may_hide)
    statuses = presence.read_statuses(audience)
    shown = ShownStatuses(rules, statuses, layers)
    addressed = [
        (
            Delivery(
                status.as_transition(), recipients="", detail=shown.detail(status)
            ),
            viewers,
        )
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


def send_to_devices(presence: Presence, user_id: str, event: bytes) -> None:
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
    for part in batches(sorted(user_ids), MAX_DISCONNECTS):
        _publish_to_every_gateway(presence, GatewayMessage(disconnects=tuple(part)))


def revoke(presence: Presence, user_id: str, revoked_at: int) -> None:
    """Have all gateways refuse the tokens of `user_id` that were issued up to
    `revoked_at` (seconds), and close their sockets. The message goes to all gateways,
    because an old token may come to any of them.

    Raises:
        PresenceUnavailable: a shard did not answer. Gateways that got no message read
            the revocation from SQL.
    """
    revocations = ((user_id, revoked_at),)
    _publish_to_every_gateway(presence, GatewayMessage(revocations=revocations))


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
