"""What routes answer to the host application. See `app.api.schema.answers`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.schema.answers import Detail, LastSeen, Seconds
from app.api.schema.fields import (
    Count,
    Cursor,
    DisplayName,
    Emoji,
    Id,
    ShownText,
    Time,
    Title,
)
from models.events import Availability, Status
from models.sql.friendship import FriendshipStatus

NextCursor: TypeAlias = Annotated[
    Cursor | None,
    Meta(
        description=(
            "Where the next page begins. Send it as `cursor`. It has no meaning for"
            " you. Null on the last page."
        )
    ),
]
_CONVERSATION = {"id": "lunch", "title": "Lunch", "participants": ["ann", "bob"]}


class SignedIn(Struct):
    """A ticket for `GET /ws`, and a token for REST. Without `PRESENCE_JWT_SECRET` there
    is only the ticket."""

    ticket: str
    expires_in: Annotated[Seconds, Meta(description="Seconds that the ticket lasts.")]
    token: str | UnsetType = UNSET
    token_expires_in: Annotated[
        Seconds | UnsetType, Meta(description="Seconds that the token lasts.")
    ] = UNSET

    example: ClassVar[object] = {
        "ticket": "w3bO8uJvQmW0hA9pN6dQ2A",
        "expires_in": 30,
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmVk",
        "token_expires_in": 3600,
    }


class User(Struct):
    """A user."""

    id: Id
    display_name: DisplayName

    example: ClassVar[object] = {"id": "ann", "display_name": "Ann"}


class UsersPage(Struct):
    """A page of all users, in the order of their ids."""

    users: list[User]
    next_cursor: NextCursor

    example: ClassVar[object] = {
        "users": [{"id": "ann", "display_name": "Ann"}],
        "next_cursor": "YW5u",
    }


class Friends(Struct):
    """The accepted friends that are stored, in the order of their ids."""

    friends: list[Id]

    example: ClassVar[object] = {"friends": ["bob", "cleo"]}


class Friendship(Struct):
    """A friendship. `user_a` is the smaller id."""

    user_a: Id
    user_b: Id
    status: FriendshipStatus

    example: ClassVar[object] = {
        "user_a": "ann",
        "user_b": "bob",
        "status": "accepted",
    }


class Conversation(Struct):
    """A conversation with its participants, in the order of their ids."""

    id: Id
    title: Title
    participants: list[Id]

    example: ClassVar[object] = _CONVERSATION


class ConversationsPage(Struct):
    """A page of all conversations, in the order of their ids."""

    conversations: list[Conversation]
    next_cursor: NextCursor

    example: ClassVar[object] = {
        "conversations": [_CONVERSATION],
        "next_cursor": None,
    }


class Participant(Struct):
    """A user in a conversation."""

    conversation_id: Id
    user_id: Id

    example: ClassVar[object] = {"conversation_id": "lunch", "user_id": "cleo"}


class BulkCounts(Struct):
    """How many rows of each kind were created or replaced."""

    users: Count
    friendships: Count
    conversations: Count

    example: ClassVar[object] = {"users": 2, "friendships": 2, "conversations": 1}


class RealStatus(Struct):
    """The real status of a user, whatever the user hides from others."""

    status: Status
    last_seen: LastSeen
    idle_since: Annotated[
        Time | None, Meta(description="Since when the user is idle (ms), or null.")
    ]
    devices: Annotated[Count, Meta(description="Open connections of the user.")]
    detail: Detail | None


class RealStatuses(Struct):
    """The real statuses of users."""

    statuses: Annotated[
        dict[Id, bool | RealStatus],
        Meta(
            description=(
                "User id, and whether the user is online. With `detail` more about the"
                " user."
            )
        ),
    ]

    example: ClassVar[object] = {"statuses": {"ann": True, "bob": False}}


class Reachability(Struct):
    """How to reach a user."""

    online: bool
    idle_for: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Seconds. Null if the user is not idle."),
    ]
    availability: Annotated[
        Availability | None,
        Meta(description="Of a user who is offline: what somebody has set, or null."),
    ]
    suggest: Annotated[
        Literal["socket", "push", "silent"],
        Meta(
            description=(
                "`silent` if the user is in do not disturb. Otherwise `socket` if the"
                " user is online and not idle. Otherwise `push`."
            )
        ),
    ]


class Reachabilities(Struct):
    """How to reach users."""

    users: dict[Id, Reachability]

    example: ClassVar[object] = {
        "users": {
            "ann": {
                "online": True,
                "idle_for": 412.7,
                "availability": "away",
                "suggest": "push",
            }
        }
    }


class Session(Struct):
    """A time in which a user was online, with any device."""

    start: Time
    end: Annotated[
        Time | None,
        Meta(
            description=(
                "When the last device closed its socket, or sent its last heartbeat."
                " Null while the session lasts."
            )
        ),
    ]

    example: ClassVar[object] = {"start": 1767225600000, "end": 1767229200000}


class SessionsPage(Struct):
    """A page of the sessions of a user, the oldest first."""

    sessions: list[Session]
    next_cursor: NextCursor

    example: ClassVar[object] = {
        "sessions": [{"start": 1767225600000, "end": 1767229200000}],
        "next_cursor": None,
    }


class OnlineUsersPage(Struct):
    """A page of the users who are online. An id may be on two pages."""

    user_ids: list[Id]
    next_cursor: NextCursor

    example: ClassVar[object] = {"user_ids": ["ann", "bob"], "next_cursor": None}


class Stats(Struct):
    """A few numbers."""

    online_users: Count
    connections: Annotated[Count, Meta(description="Open WebSockets.")]
    gateways: Annotated[Count, Meta(description="Processes that serve WebSockets.")]
    users: Annotated[Count, Meta(description="Users in the database.")]

    example: ClassVar[object] = {
        "online_users": 2,
        "connections": 3,
        "gateways": 2,
        "users": 40,
    }


class Webhook(Struct):
    """A webhook receiver."""

    url: str
    state: Annotated[
        Literal["active", "failing", "disabled"],
        Meta(
            description=(
                "`failing` if the last request failed, `disabled` if the receiver has"
                " answered 410."
            )
        ),
    ]
    pending: Annotated[
        Count, Meta(description="Users whose newest state the receiver has not heard.")
    ]
    last_error: str | None

    example: ClassVar[object] = {
        "url": "https://example.com/greendot",
        "state": "failing",
        "pending": 7,
        "last_error": "answered 503",
    }


class Webhooks(Struct):
    """All webhook receivers, in the order of `PRESENCE_WEBHOOK_URLS`."""

    webhooks: list[Webhook]

    example: ClassVar[object] = {"webhooks": [Webhook.example]}


class KnownConnection(Struct):
    """A connection that Redis knows. Times are milliseconds since the epoch (1970)."""

    gateway: str
    opened_at: Annotated[
        Time | None,
        Meta(
            description=(
                "By the clock of the gateway. Null if an older version of Greendot"
                " opened the connection."
            )
        ),
    ]
    last_heartbeat: Annotated[
        Time | None, Meta(description="Null if the connection is closed.")
    ]
    deadline: Annotated[
        Time, Meta(description="Until then the connection keeps the user online.")
    ]
    in_grace: Annotated[
        bool, Meta(description="Whether the connection is closed, and still counts.")
    ]
    idle: bool


class KnownTransition(Struct):
    """A change of the user's status."""

    status: Status
    timestamp: Time
    waiting: Annotated[
        bool,
        Meta(description="Whether it is in the outbox. Then viewers may not know it."),
    ]


class Layer(Struct):
    """What one layer of the detail sets."""

    availability: Availability | None
    text: ShownText | None
    emoji: Emoji | None
    since: Time
    expires_at: Time | None


class DetailLayers(Struct):
    """The layers of the detail. The first one that has a value wins, for each field
    alone. A layer that sets nothing is null."""

    manual: Annotated[Layer | None, Meta(description="What the user has set.")]
    host: Annotated[Layer | None, Meta(description="What the host has set.")]
    found_out: Annotated[Layer | None, Meta(description="What Greendot found out.")]


class ExplainedDetail(Struct):
    """The detail that is shown. If the user is offline, its fields are null."""

    availability: Availability | None
    text: ShownText | None
    emoji: Emoji | None
    expires_at: Time | None
    since: Time | None
    layers: DetailLayers


class Seen(Struct):
    """What the viewer sees of the user."""

    viewer: Id
    status: Annotated[
        Status | None, Meta(description="Null if the viewer is told nothing.")
    ]
    rule: Annotated[
        str,
        Meta(description="What decides, in words. Any version may change the words."),
    ]
    last_seen: LastSeen
    last_seen_rule: str | None


class Explanation(Struct):
    """All that decides what others see of a user."""

    status: Annotated[Status, Meta(description="The real status.")]
    connections: list[KnownConnection]
    transitions: Annotated[
        list[KnownTransition],
        Meta(description="The newest one, and older ones that wait. Newest first."),
    ]
    detail: ExplainedDetail
    viewer: Annotated[Seen | None, Meta(description="Null without `?viewer=`.")]

    example: ClassVar[object] = {
        "status": "online",
        "connections": [
            {
                "gateway": "web.1.812:9f2c41d0-v4",
                "opened_at": 1767225580998,
                "last_heartbeat": 1767225640113,
                "deadline": 1767225700113,
                "in_grace": False,
                "idle": False,
            }
        ],
        "transitions": [
            {"status": "online", "timestamp": 1767225581002, "waiting": False}
        ],
        "detail": {
            "availability": "active",
            "text": None,
            "emoji": None,
            "expires_at": None,
            "since": 1767225581002,
            "layers": {
                "manual": None,
                "host": None,
                "found_out": {
                    "availability": "active",
                    "text": None,
                    "emoji": None,
                    "since": 1767225581002,
                    "expires_at": None,
                },
            },
        },
        "viewer": {
            "viewer": "bob",
            "status": "online",
            "rule": "ann and bob are friends, and ann's visibility is everyone",
            "last_seen": 1767225640113,
            "last_seen_rule": (
                "shown: last_seen of ann is everyone, of bob is everyone"
            ),
        },
    }
