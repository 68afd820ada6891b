"""The wire schema: every event, its codec, and every close code with what it means.

Events travel as `{"event": NAME, "data": {...}}` in WebSocket text frames, both ways.
Between the processes a batch of them travels as one entry of a gateway's stream.

Processes of two versions run side by side during a deploy. So what they write for each
other carries a version: see VERSION.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Literal

import orjson

from models.identifiers import joined_ids

Status = Literal["online", "offline"]

VERSION = 1
"""The version of gateway messages and of outbox entries. Raise it when a process that
does not know the change would misread them. A process reads all versions up to its own.

A gateway message has it in the name of its field (`v1`), an outbox entry in a field
`v`. Without one the version is 0: the same format, from before there were versions.
Adding a field to an outbox entry needs no new version.
"""
MOST_TIMESTAMP = 2**53
"""Timestamps are less: numbers of Lua and of JavaScript are exact up to it."""


class ServerEvent(StrEnum):
    """What the server sends."""

    WELCOME = "welcome"
    PRESENCE_SNAPSHOT = "presence_snapshot"
    FRIEND_STATUS_CHANGED = "friend_status_changed"
    HEARTBEAT_ACK = "heartbeat_ack"
    ERROR = "error"
    GOING_AWAY = "going_away"


class ClientEvent(StrEnum):
    """What a client sends."""

    HEARTBEAT = "heartbeat"
    LEAVE = "leave"


class CloseCode(IntEnum):
    """Why the server closes a socket. Those in RETRY ask the client to come back."""

    NORMAL = 1000
    """The client left."""
    PROTOCOL_ERROR = 1002
    """Bytes that are no frames (RFC 6455)."""
    INVALID_DATA = 1007
    """Text that is not UTF-8."""
    TOO_BIG = 1009
    """A frame was larger than the server takes."""
    INTERNAL_ERROR = 1011
    """A fault of the server; its log says which."""
    RESTART = 1012
    """The server restarts: come back after `reconnect_in`."""
    TOO_SLOW = 1013
    """The client does not read as fast as events come, or the server is full."""
    BAD_FRAME = 4400
    """Frames that are no events; a client that sends them has a bug."""
    NOT_AUTHENTICATED = 4401
    """No token, a bad one, or one that has expired."""
    FORBIDDEN = 4403
    """The origin may not use the cookie, or the user was disconnected for good."""
    HEARTBEATS_STOPPED = 4408
    """No heartbeat for the online TTL."""
    TOO_MANY = 4429
    """Too many frames, or too many connections of one user."""


RETRY = frozenset(
    {
        CloseCode.INTERNAL_ERROR,
        CloseCode.RESTART,
        CloseCode.TOO_SLOW,
        CloseCode.HEARTBEATS_STOPPED,
        CloseCode.TOO_MANY,
    }
)
"""Codes after which a client reconnects by itself, with backoff."""


class BadFrame(ValueError):
    """A client's frame that is not an event. `code` is the one of the `error` event."""

    code = "bad_frame"


class UnknownEvent(BadFrame):
    """An event that clients do not send."""

    code = "unknown_event"


@dataclass(frozen=True, slots=True)
class Transition:
    """A real change of a user's status. `timestamp` is ms since the epoch, and per user
    it strictly increases."""

    user_id: str
    status: Status
    timestamp: int


class UnreadableMessage(ValueError):
    """A gateway message or an outbox entry that this process cannot decode: a newer
    version, or no such thing at all."""


class NewerVersion(UnreadableMessage):
    """It was written by a process of a newer version than this one."""


@dataclass(frozen=True, slots=True)
class UserStatus:
    """A user's status as Redis holds it. Times are ms since the epoch; a user who was
    never seen has `updated_at` 0 and `last_seen` None."""

    user_id: str
    online: bool
    updated_at: int
    last_seen: int | None

    @property
    def status(self) -> Status:
        """`online` or `offline`."""
        return "online" if self.online else "offline"

    def as_transition(self) -> Transition:
        """The status as the event that says the same."""
        return Transition(self.user_id, self.status, self.updated_at)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event and who on one gateway is to hear it: ids in one text, as `joined_ids`
    makes it. Somebody may be named twice."""

    transition: Transition
    recipients: str


EVERYBODY = "*"
"""Stands for all users of a gateway; no user has such an id."""


@dataclass(frozen=True, slots=True)
class GatewayMessage:
    """One entry of a gateway's stream.

    `transitions` are news for everybody; a gateway drops what is not newer than what it
    delivered. `introductions` tell one user the present status of another and are
    always delivered. `snapshots` names users whose audience shrank: they get a fresh
    snapshot; EVERYBODY may have missed news. `disconnects` names users whose sockets
    are to be closed.
    """

    transitions: tuple[Delivery, ...] = ()
    introductions: tuple[Delivery, ...] = ()
    snapshots: tuple[str, ...] = ()
    disconnects: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The message as bytes for `decode`, in the version VERSION."""
        return orjson.dumps(
            [
                [_pack(delivery) for delivery in self.transitions],
                [_pack(delivery) for delivery in self.introductions],
                self.snapshots,
                self.disconnects,
            ]
        )

    @classmethod
    def decode(cls, encoded: bytes | str) -> GatewayMessage:
        """Inverse of `encode`.

        Raises:
            UnreadableMessage: `encoded` is not such a message.
        """
        try:
            transitions, introductions, snapshots, disconnects = orjson.loads(encoded)
            return cls(
                tuple(map(_unpack, transitions)),
                tuple(map(_unpack, introductions)),
                tuple(map(_text, snapshots)),
                tuple(map(_text, disconnects)),
            )
        except (TypeError, ValueError) as error:
            message = f"not a gateway message: {error}"
            raise UnreadableMessage(message) from error

    def as_entry(self) -> tuple[str, bytes]:
        """The message as the field of a stream's entry: name and value."""
        return f"v{VERSION}", self.encode()

    @classmethod
    def from_entry(cls, fields: Sequence[bytes]) -> GatewayMessage:
        """Inverse of `as_entry`, also for messages of older versions. `fields` are the
        names and values of an entry in turn.

        Raises:
            UnreadableMessage: the entry is of a newer version, or no gateway message.
        """
        name, value = fields[:2]
        check_version(b"0" if name == b"m" else name.removeprefix(b"v"))
        return cls.decode(value)


def _pack(delivery: Delivery) -> list[object]:
    transition = delivery.transition
    return [
        transition.user_id,
        transition.status,
        transition.timestamp,
        delivery.recipients,
    ]


def _unpack(packed: list[Any]) -> Delivery:
    user_id, status, timestamp, recipients = packed
    if isinstance(recipients, list):  # before version 1 there was a time of lists
        recipients = joined_ids(recipients)
    transition = check_transition(user_id, status, timestamp)
    return Delivery(transition, _text(recipients))


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r:.60} is not text"
        raise UnreadableMessage(message)
    return value


def check_transition(user_id: object, status: object, timestamp: object) -> Transition:
    """The transition of these three, as another process wrote them.

    Raises:
        UnreadableMessage: they are none.
    """
    if (
        isinstance(user_id, str)
        and (status == "online" or status == "offline")  # noqa: PLR1714 - mypy narrows
        and type(timestamp) is int
        and 0 <= timestamp < MOST_TIMESTAMP
    ):
        return Transition(user_id, status, timestamp)
    message = f"no transition: {user_id!r:.60} {status!r:.20} {timestamp!r:.20}"
    raise UnreadableMessage(message)


def check_version(text: bytes) -> None:
    """Look whether this process can read the version that `text` names.

    Raises:
        NewerVersion: it is newer than this process.
        UnreadableMessage: it names none.
    """
    if not text.isdigit():
        message = f"{text!r:.60} is no version"
        raise UnreadableMessage(message)
    if len(text) > len(str(VERSION)) or int(text) > VERSION:
        message = f"version {text.decode():.20}, and this process knows {VERSION}"
        raise NewerVersion(message)


def encode(event: ServerEvent, data: Mapping[str, object]) -> bytes:
    """One event as the payload of a text frame."""
    return orjson.dumps({"event": event, "data": data})


def welcome(
    user_id: str, connection_id: str, heartbeat_interval: float, timestamp: int
) -> bytes:
    """First of all. `heartbeat_interval` in seconds, `timestamp` in ms."""
    return encode(
        ServerEvent.WELCOME,
        {
            "user_id": user_id,
            "connection_id": connection_id,
            "heartbeat_interval": heartbeat_interval,
            "timestamp": timestamp,
        },
    )


def presence_snapshot(statuses: Iterable[UserStatus]) -> bytes:
    """The statuses of all relevant users; replaces what the client knew."""
    return encode(
        ServerEvent.PRESENCE_SNAPSHOT,
        {
            "statuses": {
                status.user_id: {
                    "status": status.status,
                    "timestamp": status.updated_at,
                    "last_seen": status.last_seen,
                }
                for status in statuses
            }
        },
    )


def friend_status_changed(transition: Transition) -> bytes:
    """Somebody relevant came or went."""
    return encode(
        ServerEvent.FRIEND_STATUS_CHANGED,
        {
            "user_id": transition.user_id,
            "status": transition.status,
            "timestamp": transition.timestamp,
        },
    )


def heartbeat_ack(timestamp: int) -> bytes:
    """The heartbeat has arrived. `timestamp` in ms."""
    return encode(ServerEvent.HEARTBEAT_ACK, {"timestamp": timestamp})


def error(code: str, message: str) -> bytes:
    """The client's frame was not understood; the socket stays open."""
    return encode(ServerEvent.ERROR, {"code": code, "message": message})


def going_away(reconnect_in: float) -> bytes:
    """The server is about to close; come back after `reconnect_in` seconds."""
    return encode(ServerEvent.GOING_AWAY, {"reconnect_in": reconnect_in})


def decode_client_event(payload: str) -> ClientEvent:
    """The event in a client's text frame.

    Raises:
        BadFrame: it is not JSON of the right shape, or an event that clients do not
            send; the message says which.
    """
    try:
        frame = orjson.loads(payload)
    except orjson.JSONDecodeError:
        message = "a frame is JSON: {event: NAME, data: {...}}"
        raise BadFrame(message) from None
    if not isinstance(frame, dict) or not isinstance(frame.get("event"), str):
        message = (
            "a frame is an object with a name in event: {event: NAME, data: {...}}"
        )
        raise BadFrame(message)
    if not isinstance(frame.get("data", {}), dict):
        message = "data is an object"
        raise BadFrame(message)
    try:
        return ClientEvent(frame["event"])
    except ValueError:
        message = f"unknown event; clients send {' and '.join(ClientEvent)}"
        raise UnknownEvent(message) from None
