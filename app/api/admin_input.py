"""Reads the bodies of requests, and turns those of the admin routes into what the graph
takes.

Every mistake is answered with 400. The message names the field, such as
`friendships[3][1]`, and says what the field takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec
import orjson
from flask import request

from app.api.schema.bodies import (
    BulkChange,
    BulkDeletions,
    ConversationContent,
    NewConversation,
    SignIn,
)
from app.api.schema.checks import BODY, Body, check
from app.api.schema.operation import check_described
from app.api.values import bad_request, identifier, pair
from app.errors import ApiError
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph import ConversationRecord, Deletions

__all__ = [
    "Bulk",
    "SignedIn",
    "bad_request",
    "body",
    "bulk",
    "conversation",
    "friends",
    "identifier",
    "optional_body",
    "pair",
    "signed_in",
]

Model = TypeVar("Model", bound=Body)
Friendship = tuple[str, str, FriendshipStatus]


@dataclass(frozen=True, slots=True)
class Bulk:
    """A checked body of `POST /api/admin/bulk`."""

    users: dict[str, str]
    friendships: list[Friendship]
    conversations: list[ConversationRecord]
    deletions: Deletions


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A checked body of `POST /api/admin/users/ID/ticket`. What is None stays as it
    is."""

    display_name: str | None
    friends: frozenset[str] | None


def body(model: type[Model]) -> Model:
    """The request's body. The content type is ignored. `model` must be the one that the
    description of the route shows.

    Raises:
        ApiError: 400, the body is not JSON, or does not fit `model`.
    """
    check_described(model)
    # orjson refuses halves of characters, which a database cannot store. It also
    # refuses too many nested brackets, which would exhaust the stack.
    try:
        parsed = orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise bad_request(field=BODY, takes=f"takes a JSON object ({error})") from error
    check(model, parsed)
    try:
        return msgspec.convert(parsed, model)
    except msgspec.ValidationError as error:
        raise bad_request(field=BODY, takes=str(error)) from error


def optional_body(model: type[Model]) -> Model:
    """Like `body`, but the request may have no body."""
    return body(model) if request.get_data() else model()


def friends(user_id: str, ids: list[str]) -> frozenset[str]:
    """The friends of the user."""
    if user_id in ids:
        raise bad_request(
            field="friends", takes=f"takes ids of other users, not {user_id}"
        )
    return frozenset(ids)


def signed_in(user_id: str, fields: SignIn) -> SignedIn:
    """The user who is signed in, as far as the host describes it."""
    return SignedIn(
        fields.display_name,
        None if fields.friends is None else friends(user_id, fields.friends),
    )


def conversation(
    key: str, fields: ConversationContent | NewConversation
) -> ConversationRecord:
    """A conversation with its participants. Without `title` the title is empty."""
    return ConversationRecord(key, fields.title or "", frozenset(fields.participants))


def bulk(fields: BulkChange) -> Bulk:
    """A whole graph or a part of one."""
    parsed = Bulk(
        {one.id: one.display_name for one in fields.users or ()},
        [(one.a, one.b, one.status) for one in fields.friendships or ()],
        [conversation(one.id, one) for one in fields.conversations or ()],
        _deletions(fields.delete or BulkDeletions()),
    )
    _check_deletions(parsed)
    return parsed


def _deletions(fields: BulkDeletions) -> Deletions:
    return Deletions(
        frozenset(fields.users or ()),
        frozenset(canonical(one.a, one.b) for one in fields.friendships or ()),
        frozenset(fields.conversations or ()),
    )


def _check_deletions(parsed: Bulk) -> None:
    """Check that the call needs nothing that it deletes."""
    gone = parsed.deletions
    for user_id in parsed.users.keys() & gone.users:
        raise _contradiction(user_id, "users", at="users")
    for place, (one, other, _) in enumerate(parsed.friendships):
        field = f"friendships[{place}]"
        for user_id in gone.users & {one, other}:
            raise _contradiction(user_id, "users", at=field)
        both = canonical(one, other)
        if both in gone.friendships:
            raise _contradiction(" and ".join(both), "friendships", at=field)
    for place, record in enumerate(parsed.conversations):
        field = f"conversations[{place}]"
        if record.id in gone.conversations:
            raise _contradiction(record.id, "conversations", at=field)
        for user_id in gone.users & record.participants:
            raise _contradiction(user_id, "users", at=field)


def _contradiction(key: str, part: str, *, at: str) -> ApiError:
    takes = f"{key} is also in delete.{part}; send two calls"
    return bad_request(field=at, takes=takes)
