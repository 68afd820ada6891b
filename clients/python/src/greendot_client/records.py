"""What the server says, as Python values. Times are milliseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypedDict, TypeVar

Availability = Literal["active", "away", "dnd"]
"""`dnd` is "do not disturb"."""
Visible = Literal["everyone", "friends", "nobody"]
Item = TypeVar("Item")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Detail:
    """How a user is online: when something in the detail ends by itself, and since when
    the user has this availability."""

    availability: Availability
    text: str | None
    emoji: str | None
    expires_at: int | None
    since: int


@dataclass(frozen=True, slots=True)
class Change:
    """A user came online or went offline.

    If the client was made with `detail=True`, `detail` is the user's new detail, and
    None if the user is offline. `detail_only` says that the user was online before and
    still is, and only the detail has changed.
    """

    user_id: str
    online: bool
    timestamp: int
    detail: Detail | None = None
    detail_only: bool = False


class Exceptions(TypedDict, total=False):
    """Users who always see the user online, and users who never do."""

    always: list[str]
    never: list[str]


class Changes(TypedDict, total=False):
    """New settings. Those that are left out do not change. None sets one back."""

    visibility: Visible | None
    last_seen: Visible | None
    exceptions: Exceptions | None
    availability: Availability | None
    text: str | None
    emoji: str | None
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Settings:
    """A user's settings: who sees what, and what the user has set by hand (for `Admin`:
    what the host has set).

    `status` and `detail` are what allowed viewers are shown. The server reads them when
    it sends the settings, and sends no event if only they change.
    """

    visibility: Visible
    last_seen: Visible
    exceptions: Exceptions
    availability: Availability | None
    text: str | None
    emoji: str | None
    expires_at: int | None
    status: Literal["online", "offline"]
    detail: Detail | None


@dataclass(frozen=True, slots=True)
class User:
    """A user that Greendot knows."""

    id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, and the ids of its participants."""

    id: str
    title: str
    participants: list[str]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a long list. `next_cursor` is None on the last page. `etag` tells
    the server which answer is known already."""

    items: list[Item]
    next_cursor: str | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class UserStatus:
    """The true status of a user. `devices`: open connections."""

    status: Literal["online", "offline"]
    last_seen: int | None
    idle_since: int | None
    devices: int
    detail: Detail | None


@dataclass(frozen=True, slots=True)
class Reachability:
    """How to reach a user. `idle_for`: seconds without input, None if not idle."""

    online: bool
    idle_for: float | None
    availability: Availability | None
    suggest: Literal["socket", "push", "silent"]


@dataclass(frozen=True, slots=True)
class Stats:
    """How many there are at present."""

    online_users: int
    connections: int
    gateways: int
    users: int


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a client signs in with. The times are seconds from now. `token` is None if
    Greendot verifies tokens with public keys, because it cannot sign any then."""

    ticket: str
    expires_in: float
    token: str | None = None
    token_expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A time for which a user was online. `end` is None while the user is online."""

    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class WebhookReceiver:
    """One of your own servers that hear of changes."""

    url: str
    state: Literal["active", "failing", "disabled"]
    pending: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class PresenceEvent:
    """A change in a webhook. For each user, only the event with the greatest `version`
    counts: an event may come twice, late or in another order."""

    type: Literal["user.online", "user.offline", "user.detail_changed"]
    user_id: str
    status: Literal["online", "offline"]
    version: int
    detail: Detail | None = None


def record(kind: type[Record], data: dict[str, Any]) -> Record:
    """A record from the server. Fields that are not known here are ignored.

    Raises:
        TypeError: a field is missing.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in data.items() if name in names}
    if "detail" in known:
        known["detail"] = detail(known["detail"])
    return kind(**known)


def detail(data: dict[str, Any] | None) -> Detail | None:
    """A detail from the server; None if the user is offline."""
    return None if data is None else record(Detail, data)
