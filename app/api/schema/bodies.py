"""The bodies that routes take. The same classes decode them and describe them."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from app.api.schema.checks import Body, Row
from app.api.schema.fields import (
    OF,
    DisplayName,
    Emoji,
    End,
    Id,
    ShownText,
    Title,
    Url,
)
from app.api.values import bad_request, choice, pair
from app.errors import ApiError
from models.events import Availability
from models.sql.conversation import MAX_PARTICIPANTS
from models.sql.friendship import FriendshipStatus
from models.sql.presence_settings import ALWAYS, MAX_EXCEPTIONS, NEVER
from models.visibility import Visible

MAX_ASKED = 10_000
"""User ids in one question."""
MAX_FRIENDS = 5_000
"""Friends in one list. Single friendships have no such limit."""

_PAIR = 2
_PAIR_WITH_STATUS = 3

Participants: TypeAlias = Annotated[
    list[Id],
    Meta(
        description="The participants. All of them see each other.",
        max_length=MAX_PARTICIPANTS,
        extra={OF: "user ids"},
    ),
]
Friends: TypeAlias = Annotated[
    list[Id],
    Meta(
        description="The accepted friends of the user, without the user.",
        max_length=MAX_FRIENDS,
        extra={OF: "user ids"},
    ),
]
Asked: TypeAlias = Annotated[
    list[Id],
    Meta(
        description="The users to ask about. An id may be there twice.",
        max_length=MAX_ASKED,
        extra={OF: "user ids"},
    ),
]
Exempt: TypeAlias = Annotated[
    list[Id], Meta(max_length=MAX_EXCEPTIONS, extra={OF: "user ids"})
]


class UserName(Body):
    """The name of a user."""

    display_name: DisplayName

    example: ClassVar[object] = {"display_name": "Ann"}


class NewUser(Body):
    """A user to create or rename."""

    id: Id
    display_name: DisplayName


class FriendshipState(Body):
    """What two users are to each other."""

    status: FriendshipStatus

    example: ClassVar[object] = {"status": "accepted"}


class FriendList(Body):
    """All accepted friends of a user."""

    friends: Friends

    example: ClassVar[object] = {"friends": ["bob", "cleo"]}


class SignIn(Body, forbid_unknown_fields=True):
    """What the host knows about a user who signs in. What is missing or null stays as
    it is."""

    display_name: DisplayName | None = None
    friends: Friends | None = None

    example: ClassVar[object] = {"display_name": "Ann", "friends": ["bob", "cleo"]}


class ConversationContent(Body):
    """A conversation with all its participants. Without `title` the title is empty."""

    participants: Participants
    title: Title | None = None

    example: ClassVar[object] = {"title": "Lunch", "participants": ["ann", "bob"]}


class NewConversation(Body):
    """A conversation to create or replace."""

    id: Id
    participants: Participants
    title: Title | None = None


class NewFriendship(Row):
    """Two different users, and what they are to each other. Without a status they are
    friends."""

    a: Id
    b: Id
    status: FriendshipStatus = FriendshipStatus.ACCEPTED

    @classmethod
    def check(cls, value: object, field: str) -> object:
        """See `Row.check`."""
        if not isinstance(value, list) or len(value) not in (_PAIR, _PAIR_WITH_STATUS):
            takes = 'takes ["a", "b"] or ["a", "b", "status"]'
            raise bad_request(field=field, takes=takes)
        pair(value[0], value[1], field)
        if len(value) == _PAIR_WITH_STATUS:
            choice(FriendshipStatus, value[2], f"{field}[2]")
        return value


class Pair(Row):
    """Two different users, in any order."""

    a: Id
    b: Id

    @classmethod
    def check(cls, value: object, field: str) -> object:
        """See `Row.check`."""
        if not isinstance(value, list) or len(value) != _PAIR:
            raise bad_request(field=field, takes='takes ["a", "b"]')
        return pair(value[0], value[1], field)


class BulkDeletions(Body, forbid_unknown_fields=True):
    """What to delete. What does not exist is ignored."""

    at_least_one: ClassVar[bool] = True

    users: list[Id] | None = None
    friendships: list[Pair] | None = None
    conversations: list[Id] | None = None


class BulkChange(Body, forbid_unknown_fields=True):
    """A whole graph or a part of one. Each of the lists may be missing."""

    at_least_one: ClassVar[bool] = True

    users: list[NewUser] | None = None
    friendships: list[NewFriendship] | None = None
    conversations: list[NewConversation] | None = None
    delete: BulkDeletions | None = None

    example: ClassVar[object] = {
        "users": [
            {"id": "cleo", "display_name": "Cleo"},
            {"id": "dan", "display_name": "Dan"},
        ],
        "friendships": [["cleo", "dan"], ["ann", "cleo", "pending"]],
        "conversations": [
            {"id": "trip", "title": "Trip", "participants": ["ann", "cleo", "dan"]}
        ],
        "delete": {"users": ["eve"], "friendships": [["ann", "bob"]]},
    }


class StatusQuestion(Body):
    """Which users to ask about."""

    user_ids: Asked
    detail: Annotated[
        bool, Meta(description="Whether to answer more than online or not.")
    ] = False

    example: ClassVar[object] = {"user_ids": ["ann", "bob"]}


class ReachabilityQuestion(Body):
    """Which users to ask about."""

    user_ids: Asked

    example: ClassVar[object] = {"user_ids": ["ann", "bob"]}


class WebhookReceiver(Body):
    """A webhook receiver of `PRESENCE_WEBHOOK_URLS`."""

    url: Annotated[Url, Meta(description="The URL, exactly as in the setting.")]

    example: ClassVar[object] = {"url": "https://example.com/greendot"}


class NewExceptions(Body, forbid_unknown_fields=True):
    """Viewers who are exceptions to `visibility`. The two lists have at most 1,000 ids
    together, no id is in both, and the user is in none."""

    always: Annotated[Exempt, Meta(description="They always see the user.")] | None = (
        None
    )
    never: Annotated[Exempt, Meta(description="They never see the user.")] | None = None

    @classmethod
    def refuse_fields(cls, unknown: set[str], field: str) -> ApiError:  # noqa: ARG003 - as in `Body`
        """See `Body.refuse_fields`."""
        takes = f"takes an object with the lists {ALWAYS} and {NEVER}"
        return bad_request(field=field, takes=takes)


class SettingsChange(Body, forbid_unknown_fields=True):
    """The settings to change. Null takes a value back. What is missing stays as it
    is."""

    at_least_one: ClassVar[bool] = True

    visibility: Annotated[
        Visible | UnsetType | None,
        Meta(description="Which of the relevant users see that the user is online."),
    ] = UNSET
    last_seen: Annotated[
        Visible | UnsetType | None,
        Meta(description="Which of the relevant users see `last_seen`."),
    ] = UNSET
    exceptions: NewExceptions | UnsetType | None = UNSET
    availability: Annotated[
        Availability | UnsetType | None,
        Meta(description="`active` takes the value back, as null does."),
    ] = UNSET
    text: ShownText | UnsetType | None = UNSET
    emoji: Emoji | UnsetType | None = UNSET
    expires_at: Annotated[
        End | UnsetType | None,
        Meta(
            description=(
                "When availability, text and emoji end by themselves, in milliseconds"
                " since the epoch (1970). It must lie in the future, and needs one of"
                " these three."
            )
        ),
    ] = UNSET

    example: ClassVar[object] = {
        "visibility": "friends",
        "exceptions": {"always": ["bob"], "never": []},
        "availability": "dnd",
        "text": "Writing a compiler",
        "emoji": "🧮",
    }

    @classmethod
    def refuse_fields(cls, unknown: set[str], field: str) -> ApiError:
        """See `Body.refuse_fields`."""
        takes = "takes " + ", ".join(sorted(cls.__struct_fields__))
        if unknown:
            field, takes = min(unknown), f"is no setting; the body {takes}"
        return bad_request(field=field, takes=takes)
