"""What routes answer. These classes only describe it: routes build plain dictionaries.
The tests check answers of a running server against them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.schema.fields import (
    Emoji,
    Id,
    ShownText,
    Time,
)
from models.events import Availability, Status
from models.visibility import Visible

Seconds: TypeAlias = Annotated[int, Meta(description="Seconds.", ge=0)]
LastSeen: TypeAlias = Annotated[
    Time | None,
    Meta(
        description=(
            "When the user was last seen online, in milliseconds since the epoch"
            " (1970). Null if the user was never seen, or if a setting hides it."
        )
    ),
]
_DETAIL: dict[str, Any] = {
    "availability": "dnd",
    "text": "On a call",
    "emoji": None,
    "expires_at": None,
    "since": 1767225670112,
}


class ErrorDetails(Struct):
    """Programs read `code`, people read `message`."""

    code: str
    message: str


class Error(Struct):
    """What every error is answered with."""

    error: ErrorDetails


class Detail(Struct):
    """What is shown beside the status of a user who is online."""

    availability: Availability
    text: ShownText | None
    emoji: Emoji | None
    expires_at: Annotated[
        Time | None,
        Meta(description="When something in the detail ends by itself (ms), or null."),
    ]
    since: Annotated[
        Time, Meta(description="When the user got this availability (ms).")
    ]


class StatusMap(Struct):
    """Which users are online, as the caller sees them."""

    statuses: Annotated[
        dict[Id, bool], Meta(description="User id, and whether the user is online.")
    ]
    details: Annotated[
        dict[Id, Detail | None] | UnsetType,
        Meta(description="Only with `?detail=1`. Null for users who are offline."),
    ] = UNSET

    example: ClassVar[object] = {"statuses": {"bob": True, "cleo": False}}


class UserStatus(Struct):
    """The status of one user, as the caller sees it."""

    user_id: Id
    status: Status
    last_seen: LastSeen
    updated_at: Annotated[
        Time | None,
        Meta(
            description=(
                "When the status last changed (ms). Null if it never did, or if"
                " `last_seen` is hidden."
            )
        ),
    ]
    last_seen_hidden_by: Annotated[
        Literal["you"] | UnsetType,
        Meta(description="Only if the caller's own setting hides `last_seen`."),
    ] = UNSET
    detail: Annotated[
        Detail | UnsetType | None,
        Meta(description="Only with `?detail=1`. Null while the user is offline."),
    ] = UNSET

    example: ClassVar[object] = {
        "user_id": "bob",
        "status": "online",
        "last_seen": 1767225598120,
        "updated_at": 1767225581002,
    }


class Exceptions(Struct):
    """Viewers who are exceptions to `visibility`."""

    always: Annotated[list[Id], Meta(description="They always see the user.")]
    never: Annotated[list[Id], Meta(description="They never see the user.")]


class PresenceSettings(Struct):
    """The settings of a user, and the user's real status."""

    visibility: Annotated[
        Visible,
        Meta(description="Which of the relevant users see that the user is online."),
    ]
    last_seen: Annotated[
        Visible, Meta(description="Which of the relevant users see `last_seen`.")
    ]
    exceptions: Exceptions
    availability: Annotated[
        Availability | None, Meta(description="What is set. Null if nothing is set.")
    ]
    text: Annotated[ShownText | None, Meta(description="What is set.")]
    emoji: Annotated[Emoji | None, Meta(description="What is set.")]
    expires_at: Annotated[
        Time | None,
        Meta(description="When availability, text and emoji end (ms), or null."),
    ]
    status: Annotated[Status, Meta(description="The real status.")]
    detail: Annotated[
        Detail | None, Meta(description="What others are shown. Null while offline.")
    ]

    example: ClassVar[object] = {
        "visibility": "friends",
        "last_seen": "everyone",
        "exceptions": {"always": ["bob"], "never": []},
        "availability": "dnd",
        "text": "On a call",
        "emoji": None,
        "expires_at": None,
        "status": "online",
        "detail": _DETAIL,
    }


class Ticket(Struct):
    """A ticket for `GET /ws`. It works once."""

    ticket: str
    expires_in: Annotated[Seconds, Meta(description="Seconds that the ticket lasts.")]

    example: ClassVar[object] = {
        "ticket": "w3bO8uJvQmW0hA9pN6dQ2A",
        "expires_in": 30,
    }


class Health(Struct):
    """The process is up."""

    status: Literal["ok"]

    example: ClassVar[object] = {"status": "ok"}


class Checks(Struct):
    """Whether each of them accepts writes."""

    database: bool
    redis: bool


class Readiness(Struct):
    """Whether the process can serve calls."""

    status: Literal["ok", "unavailable"]
    checks: Checks
    reasons: Annotated[
        dict[str, str] | UnsetType,
        Meta(description="Why the database or Redis is not ready. Only if one is not."),
    ] = UNSET

    example: ClassVar[object] = {
        "status": "ok",
        "checks": {"database": True, "redis": True},
    }
