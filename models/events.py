"""The wire schema: every event, its codec, and every close code with its meaning.

WebSocket text frames carry events as `{"event": NAME, "data": {...}}`, both ways.
Between processes, one entry of a gateway's stream carries a batch of events.

Processes of two versions run side by side during a deploy. So gateway messages and
outbox entries carry a version, see VERSION.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, Literal, NamedTuple

import orjson

from models.identifiers import joined_ids

Status = Literal["online", "offline"]

VERSION = 4
"""The version of gateway messages and outbox entries. Raise it when the format changes
so that an older process would misread it. A process reads all versions up to its own.

A gateway message has the version in the name of its field (`v1`), an outbox entry in a
field `v`. If there is no version, it is 0: the format is the same, but the process that
wrote it did not know versions yet. A new field in an outbox entry needs no new version.
"""
VISIBILITY_VERSION = 2
"""The first version with changes of visibility. An outbox entry has at least this
version: an older worker would show hidden users."""
DETAIL_VERSION = 3
"""The first version with details. A message for an older gateway is written without
them."""
REVOCATION_VERSION = 4
"""The first version with revocations. An older gateway is told to close all sockets of
the user."""
_OLDEST = 1
MAX_TIMESTAMP = 2**53
"""Every timestamp is smaller than this. Up to here, the numbers of Lua and JavaScript
are exact."""


class ServerEvent(StrEnum):
    """Events that the server sends."""

    WELCOME = "welcome"
    PRESENCE_SNAPSHOT = "presence_snapshot"
    FRIEND_STATUS_CHANGED = "friend_status_changed"
    HEARTBEAT_ACK = "heartbeat_ack"
    ERROR = "error"
    GOING_AWAY = "going_away"
    FRIEND_DETAIL_CHANGED = "friend_detail_changed"
    PRESENCE_SETTINGS_CHANGED = "presence_settings_changed"
    TOKEN_EXPIRING = "token_expiring"  # noqa: S105 - the name of an event
    TOKEN_REFRESHED = "token_refreshed"  # noqa: S105 - the name of an event


class ClientEvent(StrEnum):
    """Events that a client sends."""

    HEARTBEAT = "heartbeat"
    LEAVE = "leave"
    ACTIVITY = "activity"
    REFRESH = "refresh"


class CloseCode(IntEnum):
    """Why the server closes a socket. After the codes in RETRY a client reconnects."""

    NORMAL = 1000
    """The client left."""
    PROTOCOL_ERROR = 1002
    """Bytes that are not a frame (RFC 6455)."""
    INVALID_DATA = 1007
    """Text that is not UTF-8."""
    TOO_BIG = 1009
    """A message was larger than the server accepts."""
    INTERNAL_ERROR = 1011
    """A bug in the server; its log has the traceback."""
    RESTART = 1012
    """The server restarts: reconnect after `reconnect_in`."""
    TRY_AGAIN_LATER = 1013
    """The client reads too slowly, Redis is down, or the gateway is full."""
    BAD_FRAME = 4400
    """Too many frames that are not events: the client has a bug."""
    NOT_AUTHENTICATED = 4401
    """The token is missing, invalid, expired or revoked."""
    FORBIDDEN = 4403
    """The origin may not use the cookie, or the host has disconnected the user."""
    HEARTBEATS_STOPPED = 4408
    """No heartbeat for the online TTL."""
    TOO_MANY = 4429
    """Too many frames, or too many connections or handshakes of one user."""


RETRY = frozenset(
    {
        CloseCode.INTERNAL_ERROR,
        CloseCode.RESTART,
        CloseCode.TRY_AGAIN_LATER,
        CloseCode.HEARTBEATS_STOPPED,
        CloseCode.TOO_MANY,
    }
)
"""Codes after which a client reconnects by itself, with backoff."""


class BadFrame(ValueError):
    """A client's frame that is not an event. The answer is an `error` event with this
    `code`."""

    code = "bad_frame"


class UnknownEvent(BadFrame):
    """An event that clients may not send."""

    code = "unknown_event"


def change_id(user_id: str, timestamp: int) -> str:
    """The id of a change of a user, in log lines and traces. A user's timestamps
    strictly increase, so it is unique."""
    return f"{user_id}@{timestamp}"


@dataclass(frozen=True, slots=True)
class Transition:
    """A real change of a user's status. `timestamp` is ms since the epoch and strictly
    increases per user. `cause` has the form of `models.telemetry.causes`. It is not a
    part of what the change is."""

    user_id: str
    status: Status
    timestamp: int
    cause: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """The id of the change, in log lines and traces."""
        return change_id(self.user_id, self.timestamp)


class UnreadableMessage(ValueError):
    """A gateway message or outbox entry that this process cannot decode: it is invalid
    or has a newer version."""


class NewerVersion(UnreadableMessage):
    """A process of a newer version has written it."""


class Availability(StrEnum):
    """What a user who is online may be shown as."""

    ACTIVE = "active"
    AWAY = "away"
    DND = "dnd"
    """Do not disturb."""


class Detail(NamedTuple):
    """What is shown beside the status of a user who is online. Times are ms.

    At `expires_at` the detail ends by itself. `since` is when the user got this
    availability.
    """

    availability: Availability
    text: str | None
    emoji: str | None
    expires_at: int | None
    since: int

    @classmethod
    def plain(cls, since: int) -> Detail:
        """The detail of a user who came online at `since`, and for whom nothing is
        set."""
        return cls(Availability.ACTIVE, None, None, None, since)


class Activity(NamedTuple):
    """Whether a user who is online is idle. Times are ms."""

    idle_since: int | None = None
    """None if the user is not idle."""
    active_since: int | None = None
    """When the user last became active again. None if the user is idle, or was never
    idle since coming online."""


NEVER_IDLE = Activity()


class UserStatus(NamedTuple):
    """A user's status, from Redis. Times are ms since the epoch. A user who was never
    online has `updated_at` 0 and `last_seen` None."""

    user_id: str
    online: bool
    updated_at: int
    last_seen: int | None
    activity: Activity = NEVER_IDLE
    visible_since: int = 0
    """When the user became visible to the viewer; 0 if that was always so."""
    stored_version: int = 0
    """If Redis has no `last_seen`, and it is from the database: the timestamp of the
    transition that it belongs to. Otherwise 0."""

    @property
    def status(self) -> Status:
        """`online` or `offline`."""
        return "online" if self.online else "offline"

    def as_transition(self) -> Transition:
        """The status as a transition."""
        return Transition(self.user_id, self.status, self.updated_at)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A transition and its recipients. `recipients` is one text of user ids, as
    `joined_ids` makes it. The text may contain an id twice."""

    transition: Transition
    recipients: str
    for_viewers: bool = False
    """The recipients see a change that others do not see: the user has become hidden
    from them, or visible to them."""
    detail: Detail | None = None
    """None stands for `Detail.plain` if the user is online."""
    is_detail_only: bool = False
    """Only the detail has changed. The user was online before."""


@dataclass(frozen=True, slots=True)
class VisibilityChange:
    """Viewers who are to see a user go online or offline. The user's real status does
    not change. Viewers are one text of user ids, as `joined_ids` makes it."""

    user_id: str
    timestamp: int
    online_to: str
    offline_to: str
    activity: Activity = NEVER_IDLE
    cause: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """The id of the change, in log lines and traces."""
        return change_id(self.user_id, self.timestamp)


@dataclass(frozen=True, slots=True)
class DetailChange:
    """The detail of a user who is online may have changed."""

    user_id: str
    timestamp: int
    activity: Activity
    by_setting: bool
    """Whether somebody has set the detail. Otherwise the user became idle or active."""
    cause: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """The id of the change, in log lines and traces."""
        return change_id(self.user_id, self.timestamp)


EVERYBODY = "*"
"""Stands for all users of a gateway. It is not a valid user id."""


@dataclass(frozen=True, slots=True)
class GatewayMessage:
    """One entry of a gateway's stream."""

    transitions: tuple[Delivery, ...] = ()
    """Changes of status. A gateway drops a change that is not newer than the last one
    of the same user."""
    introductions: tuple[Delivery, ...] = ()
    """The present status of a user. The user has just become relevant to the
    recipients. A gateway always delivers it."""
    snapshots: tuple[str, ...] = ()
    """Users who get a fresh snapshot. They have lost a relation, or may have missed
    transitions. EVERYBODY stands for all users."""
    disconnects: tuple[str, ...] = ()
    """Users whose sockets must be closed."""
    own: tuple[tuple[str, str], ...] = ()
    """Pairs of a user and an event. All sockets of the user get the event."""
    revocations: tuple[tuple[str, int], ...] = ()
    """Pairs of a user and a time (seconds). The user's tokens that were issued up to
    then are refused, and their sockets must be closed."""

    @property
    def version(self) -> int:
        """The oldest version that can express the message."""
        if self.revocations:
            return REVOCATION_VERSION
        deliveries = (*self.transitions, *self.introductions)
        if any(one.detail or one.is_detail_only for one in deliveries):
            return DETAIL_VERSION
        if self.own or any(one.for_viewers for one in self.transitions):
            return VISIBILITY_VERSION
        return _OLDEST

    def for_reader(self, version: int) -> GatewayMessage | None:
        """The message for a gateway that reads up to `version`: without details if it
        does not know them, and with `disconnects` for revocations. None if nothing is
        left."""
        if version < REVOCATION_VERSION and self.revocations:
            revoked = tuple(user_id for user_id, _ in self.revocations)
            disconnects = self.disconnects + revoked
            older = replace(self, disconnects=disconnects, revocations=())
            return older.for_reader(version)
        if version < REVOCATION_VERSION and any(self._causes):
            # A process of this version ignores what it does not know at the end. An
            # older one may not.
            return self._without_causes().for_reader(version)
        if version >= DETAIL_VERSION or self.version < DETAIL_VERSION:
            return self
        transitions, introductions = map(
            _without_details, (self.transitions, self.introductions)
        )
        message = replace(self, transitions=transitions, introductions=introductions)
        return None if message == GatewayMessage() else message

    def encode(self) -> bytes:
        """The message as bytes for `decode`, in its `version`."""
        parts: list[object] = [
            [_pack(delivery) for delivery in self.transitions],
            [_pack(delivery) for delivery in self.introductions],
            self.snapshots,
            self.disconnects,
        ]
        causes = self._causes
        has_causes = any(causes)
        if self.version > _OLDEST or has_causes:
            parts.append(self.own)
        if self.version >= REVOCATION_VERSION or has_causes:
            parts.append(self.revocations)
        if has_causes:
            parts.append(causes)
        return orjson.dumps(parts)

    @property
    def _causes(self) -> list[str]:
        return [one.transition.cause for one in self.transitions]

    def _without_causes(self) -> GatewayMessage:
        transitions = tuple(
            replace(one, transition=replace(one.transition, cause=""))
            for one in self.transitions
        )
        return replace(self, transitions=transitions)

    @classmethod
    def decode(cls, encoded: bytes | str) -> GatewayMessage:
        """Inverse of `encode`.

        Raises:
            UnreadableMessage: `encoded` is not a gateway message.
        """
        try:
            transitions, introductions, snapshots, disconnects, *rest = orjson.loads(
                encoded
            )
            own, revocations, causes = (*rest, (), (), ())[:3]
            if len(causes) != len(transitions):
                causes = [""] * len(transitions)
            return cls(
                tuple(map(_unpack, transitions, causes)),
                tuple(map(_unpack, introductions)),
                tuple(map(_text, snapshots)),
                tuple(map(_text, disconnects)),
                tuple((_text(user_id), _text(event)) for user_id, event in own),
                tuple((_text(user_id), int(at)) for user_id, at in revocations),
            )
        except (TypeError, ValueError) as error:
            message = f"not a gateway message: {error}"
            raise UnreadableMessage(message) from error

    def as_entry(self) -> tuple[str, bytes]:
        """The message as the field of a stream entry: name and value."""
        return f"v{self.version}", self.encode()

    @classmethod
    def from_entry(cls, fields: Sequence[bytes]) -> GatewayMessage:
        """Inverse of `as_entry`. Also reads older versions. `fields` is a name, its
        value, the next name, and so on.

        Raises:
            UnreadableMessage: the entry has a newer version or is not a gateway
            message.
        """
        name, value = fields[:2]
        check_version(b"0" if name == b"m" else name.removeprefix(b"v"))
        return cls.decode(value)


def _without_details(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """`deliveries` for a gateway that does not know details. It would take a second
    delivery of the same transition for a repeat, so each transition is there once."""
    found: dict[tuple[Transition, bool], Delivery] = {}
    for one in deliveries:
        if one.is_detail_only:
            continue
        key = one.transition, one.for_viewers
        ids = one.recipients
        if key in found:
            ids = joined_ids((found[key].recipients, ids))
        found[key] = replace(one, recipients=ids, detail=None)
    return tuple(found.values())


def _pack(delivery: Delivery) -> list[object]:
    transition = delivery.transition
    packed: list[object] = [
        transition.user_id,
        transition.status,
        transition.timestamp,
        delivery.recipients,
    ]
    if delivery.detail or delivery.is_detail_only:
        # orjson does not take a named tuple for a list.
        detail = delivery.detail and tuple(delivery.detail)
        packed += (int(delivery.for_viewers), detail, int(delivery.is_detail_only))
    elif delivery.for_viewers:
        packed.append(1)
    return packed


def _unpack(packed: list[Any], cause: str = "") -> Delivery:
    user_id, status, timestamp, recipients, *rest = packed
    if isinstance(recipients, list):  # some processes before version 1 wrote lists
        recipients = joined_ids(recipients)
    transition = check_transition(user_id, status, timestamp, _text(cause))
    delivery = Delivery(
        transition, _text(recipients), for_viewers=bool(rest and rest[0])
    )
    if len(rest) > 1:
        _, detail, is_detail_only = rest
        return replace(
            delivery, detail=_detail(detail), is_detail_only=bool(is_detail_only)
        )
    return delivery


def _detail(packed: list[Any] | None) -> Detail | None:
    if packed is None:
        return None
    availability, *others = packed
    return Detail(Availability(availability), *others)


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r:.60} is not text"
        raise UnreadableMessage(message)
    return value


def check_transition(
    user_id: object, status: object, timestamp: object, cause: str = ""
) -> Transition:
    """Make a transition from values that another process wrote.

    Raises:
        UnreadableMessage: the values are not a transition.
    """
    if (
        isinstance(user_id, str)
        and (status == "online" or status == "offline")  # noqa: PLR1714 - mypy narrows
        and type(timestamp) is int
        and 0 <= timestamp < MAX_TIMESTAMP
    ):
        return Transition(user_id, status, timestamp, cause)
    message = f"not a transition: {user_id!r:.60} {status!r:.20} {timestamp!r:.20}"
    raise UnreadableMessage(message)


def check_version(text: bytes) -> None:
    """Check that this process can read version `text`.

    Raises:
        NewerVersion: the version is newer than this process.
        UnreadableMessage: `text` is not a version.
    """
    if not text.isdigit():
        message = f"{text!r:.60} is not a version"
        raise UnreadableMessage(message)
    if len(text) > len(str(VERSION)) or int(text) > VERSION:
        message = (
            f"version {text.decode():.20} is newer than {VERSION}, that of this process"
        )
        raise NewerVersion(message)


def encode(event: ServerEvent, data: Mapping[str, object]) -> bytes:
    """One event as the payload of a text frame."""
    return orjson.dumps({"event": event, "data": data})


def welcome(
    user_id: str,
    connection_id: str,
    heartbeat_interval: float,
    timestamp: int,
    idle_after: float | None = None,
) -> bytes:
    """The first event. `heartbeat_interval` and `idle_after` are in seconds,
    `timestamp` in ms. Only clients that want details get `idle_after`."""
    data: dict[str, object] = {
        "user_id": user_id,
        "connection_id": connection_id,
        "heartbeat_interval": heartbeat_interval,
        "timestamp": timestamp,
    }
    if idle_after is not None:
        data["idle_after"] = idle_after
    return encode(ServerEvent.WELCOME, data)


def presence_snapshot(statuses: Iterable[UserStatus]) -> bytes:
    """The statuses of all relevant users. They replace all statuses that the client
    has."""
    return encode(
        ServerEvent.PRESENCE_SNAPSHOT,
        {"statuses": {status.user_id: _snapshot_entry(status) for status in statuses}},
    )


def presence_snapshot_with_details(
    statuses: Iterable[tuple[UserStatus, Detail | None]],
) -> bytes:
    """Like `presence_snapshot`, for a client that wants details."""
    return encode(
        ServerEvent.PRESENCE_SNAPSHOT,
        {
            "statuses": {
                status.user_id: {
                    **_snapshot_entry(status),
                    "detail": detail_data(detail),
                }
                for status, detail in statuses
            }
        },
    )


_STATUSES_END = b"}}}"
_STATUSES_BEGIN = presence_snapshot([]).removesuffix(_STATUSES_END)


def joined_snapshots(parts: Sequence[bytes]) -> bytes:
    """One snapshot with the statuses of all `parts`. Each part is a snapshot of other
    users, and has at least one. Without parts the snapshot is empty."""
    if len(parts) == 1:
        return parts[0]
    start, end = len(_STATUSES_BEGIN), -len(_STATUSES_END)
    entries = b",".join(part[start:end] for part in parts)
    return b"".join((_STATUSES_BEGIN, entries, _STATUSES_END))


def _snapshot_entry(status: UserStatus) -> dict[str, object]:
    return {
        "status": status.status,
        "timestamp": status.updated_at,
        "last_seen": status.last_seen,
    }


def detail_data(detail: Detail | None) -> dict[str, object] | None:
    """A detail as clients get it."""
    return None if detail is None else detail._asdict()


def friend_status_changed(transition: Transition) -> bytes:
    """A relevant user went online or offline."""
    return encode(ServerEvent.FRIEND_STATUS_CHANGED, _transition_data(transition))


def friend_status_changed_with_detail(delivery: Delivery) -> bytes:
    """Like `friend_status_changed`, for a client that wants details."""
    transition, detail = delivery.transition, delivery.detail
    if detail is None and transition.status == "online":
        detail = Detail.plain(transition.timestamp)
    data = {**_transition_data(transition), "detail": detail_data(detail)}
    return encode(ServerEvent.FRIEND_STATUS_CHANGED, data)


def _transition_data(transition: Transition) -> dict[str, object]:
    return {
        "user_id": transition.user_id,
        "status": transition.status,
        "timestamp": transition.timestamp,
    }


def friend_detail_changed(delivery: Delivery) -> bytes:
    """Only the detail of a relevant user has changed."""
    return encode(
        ServerEvent.FRIEND_DETAIL_CHANGED,
        {
            "user_id": delivery.transition.user_id,
            "detail": detail_data(delivery.detail),
            "timestamp": delivery.transition.timestamp,
        },
    )


def presence_settings_changed(settings: Mapping[str, object]) -> bytes:
    """The user's own settings have changed, maybe on another device."""
    return encode(ServerEvent.PRESENCE_SETTINGS_CHANGED, settings)


def heartbeat_ack(timestamp: int) -> bytes:
    """The heartbeat has arrived. `timestamp` is in ms."""
    return encode(ServerEvent.HEARTBEAT_ACK, {"timestamp": timestamp})


def error(code: str, message: str) -> bytes:
    """The client's frame was not understood or not accepted. The socket stays open."""
    return encode(ServerEvent.ERROR, {"code": code, "message": message})


def token_expiring(expires_at: float) -> bytes:
    """The client's token expires at `expires_at` (seconds since the epoch)."""
    return encode(ServerEvent.TOKEN_EXPIRING, {"expires_at": _in_ms(expires_at)})


def token_refreshed(expires_at: float | None) -> bytes:
    """The client's new token counts from now on. It expires at `expires_at` (seconds
    since the epoch), or never."""
    data = {"expires_at": None if expires_at is None else _in_ms(expires_at)}
    return encode(ServerEvent.TOKEN_REFRESHED, data)


def _in_ms(seconds: float) -> int:
    """`seconds` in ms. A token may name any time, but JSON and clients do not take any
    number."""
    return int(max(0.0, min(seconds, MAX_TIMESTAMP / 1000)) * 1000)


def going_away(reconnect_in: float) -> bytes:
    """The server is about to close. Reconnect after `reconnect_in` seconds."""
    return encode(ServerEvent.GOING_AWAY, {"reconnect_in": reconnect_in})


def decode_client_event(payload: str) -> tuple[ClientEvent, dict[str, Any]]:
    """The event in a client's text frame, and its data.

    Raises:
        BadFrame: `payload` is not JSON of the right shape, or has an event that clients
            may not send. The message says what is wrong.
    """
    try:
        frame = orjson.loads(payload)
    except orjson.JSONDecodeError:
        message = "the frame is not JSON: send {event: NAME, data: {...}}"
        raise BadFrame(message) from None
    if not isinstance(frame, dict) or not isinstance(frame.get("event"), str):
        message = "the frame has no event name: send {event: NAME, data: {...}}"
        raise BadFrame(message)
    data = frame.get("data", {})
    if not isinstance(data, dict):
        message = "data must be an object"
        raise BadFrame(message)
    try:
        return ClientEvent(frame["event"]), data
    except ValueError:
        message = f"unknown event; clients send {', '.join(ClientEvent)}"
        raise UnknownEvent(message) from None


def is_idle_in(data: Mapping[str, Any]) -> bool:
    """The value in the data of `activity`.

    Raises:
        BadFrame: it is missing, or neither true nor false.
    """
    idle = data.get("idle")
    if not isinstance(idle, bool):
        message = "idle must be true or false"
        raise BadFrame(message)
    return idle


def token_in(data: Mapping[str, Any]) -> str:
    """The token in the data of `refresh`.

    Raises:
        BadFrame: it is missing, or not text.
    """
    token = data.get("token")
    if not isinstance(token, str):
        message = "token must be text"
        raise BadFrame(message)
    return token
