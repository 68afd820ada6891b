"""Parses and checks the bodies of the admin routes before anything is written.

Every mistake is answered with 400. The message names the field, such as
`friendships[3][1]`, and says what the field takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from flask import request

from app.errors import ApiError
from models.identifiers import (
    Choice,
    InvalidIdentifier,
    check_choice,
    check_text,
    check_user_id,
)
from models.sql.conversation import MAX_PARTICIPANTS, TITLE_LENGTH
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph import ConversationRecord, Deletions
from models.sql.user import DISPLAY_NAME_LENGTH

Value = TypeVar("Value")
Friendship = tuple[str, str, FriendshipStatus]

MAX_FRIENDS = 5_000
"""Friends in one list. Single friendships have no such limit."""

_PAIR = 2
_PAIR_WITH_STATUS = 3
_PARTS = ("users", "friendships", "conversations")


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


def bad_request(*, field: str, takes: str) -> ApiError:
    """The error for a field with a wrong value."""
    return ApiError(400, "bad_request", f"{field}: {takes}")


def body() -> dict[str, Any]:
    """The JSON object in the request's body. The content type is ignored."""
    # orjson refuses halves of characters, which a database cannot store. It also
    # refuses too many nested brackets, which would exhaust the stack.
    try:
        parsed = orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise bad_request(
            field="body", takes=f"takes a JSON object ({error})"
        ) from error
    return _object(parsed, "body")


def optional_body() -> dict[str, Any]:
    """The JSON object in the request's body. Without a body it is empty."""
    return body() if request.get_data() else {}


def identifier(value: object, field: str) -> str:
    """An id from a path or a body."""
    try:
        return check_user_id(value)
    except InvalidIdentifier as error:
        raise ApiError(400, "invalid_id", f"{field}: {error}") from error


def pair(a: str, b: str, field: str) -> tuple[str, str]:
    """Two ids of different users."""
    one, other = identifier(a, field), identifier(b, field)
    if one == other:
        raise bad_request(
            field=field, takes=f"takes two different users, not {one} twice"
        )
    return one, other


def ids(value: object, field: str, most: int) -> frozenset[str]:
    """A list of at most `most` user ids."""
    if not isinstance(value, list):
        raise bad_request(field=field, takes="takes a list of user ids")
    if len(value) > most:
        raise bad_request(field=field, takes=f"takes at most {most} ids")
    return frozenset(
        identifier(one, f"{field}[{place}]") for place, one in enumerate(value)
    )


def choice(kind: type[Choice], value: object, field: str) -> Choice:
    """A member of `kind`, by its value."""
    try:
        return check_choice(kind, value)
    except ValueError as error:
        raise bad_request(field=field, takes=str(error)) from error


def text(value: object, field: str, least: int, most: int) -> str:
    """Text of `least` to `most` characters, on one line."""
    try:
        return check_text(value, least, most)
    except ValueError as error:
        raise bad_request(field=field, takes=str(error)) from error


def display_name(fields: dict[str, Any], prefix: str = "") -> str:
    """The name of a user."""
    field = f"{prefix}display_name"
    return text(fields.get("display_name"), field, 1, DISPLAY_NAME_LENGTH)


def friends(user_id: str, value: object) -> frozenset[str]:
    """The friends of the user."""
    found = ids(value, "friends", MAX_FRIENDS)
    if user_id in found:
        raise bad_request(
            field="friends", takes=f"takes ids of other users, not {user_id}"
        )
    return found


def signed_in(user_id: str, fields: dict[str, Any]) -> SignedIn:
    """The user who is signed in, as far as the host describes it."""
    if fields.keys() - {"display_name", "friends"}:
        raise bad_request(field="body", takes="takes display_name and friends")
    name, listed = fields.get("display_name"), fields.get("friends")
    return SignedIn(
        None if name is None else display_name(fields),
        None if listed is None else friends(user_id, listed),
    )


def status(fields: dict[str, Any]) -> FriendshipStatus:
    """The status of a friendship."""
    return choice(FriendshipStatus, fields.get("status"), "status")


def conversation(
    key: str, fields: dict[str, Any], prefix: str = ""
) -> ConversationRecord:
    """A conversation with its participants. Without `title` the title is empty."""
    title = fields.get("title")
    field = f"{prefix}participants"
    return ConversationRecord(
        key,
        "" if title is None else text(title, f"{prefix}title", 0, TITLE_LENGTH),
        ids(fields.get("participants"), field, MAX_PARTICIPANTS),
    )


def bulk(fields: dict[str, Any]) -> Bulk:
    """A whole graph or a part of one. Each of the lists may be missing."""
    if not fields or fields.keys() - {*_PARTS, "delete"}:
        raise bad_request(
            field="body", takes="takes users, friendships, conversations and delete"
        )
    parsed = Bulk(
        dict(_each(fields, "users", _user)),
        _each(fields, "friendships", _friendship),
        _each(fields, "conversations", _conversation),
        _deletions(fields.get("delete")),
    )
    _check_deletions(parsed)
    return parsed


def _deletions(value: object) -> Deletions:
    if value is None:
        return Deletions()
    fields = _object(value, "delete")
    if not fields or fields.keys() - set(_PARTS):
        raise bad_request(
            field="delete", takes="takes users, friendships and conversations"
        )
    return Deletions(
        frozenset(_each(fields, "users", identifier, "delete.")),
        frozenset(_each(fields, "friendships", _deleted_pair, "delete.")),
        frozenset(_each(fields, "conversations", identifier, "delete.")),
    )


def _deleted_pair(value: object, field: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != _PAIR:
        raise bad_request(field=field, takes='takes ["a", "b"]')
    return canonical(*pair(value[0], value[1], field))


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


def _user(value: object, field: str) -> tuple[str, str]:
    user = _object(value, field)
    return identifier(user.get("id"), f"{field}.id"), display_name(user, f"{field}.")


def _friendship(value: object, field: str) -> Friendship:
    # A third element is the status. Without it the two are friends.
    if not isinstance(value, list) or len(value) not in (_PAIR, _PAIR_WITH_STATUS):
        raise bad_request(field=field, takes='takes ["a", "b"] or ["a", "b", "status"]')
    one, other = pair(value[0], value[1], field)
    if len(value) == _PAIR:
        return one, other, FriendshipStatus.ACCEPTED
    return one, other, choice(FriendshipStatus, value[2], f"{field}[2]")


def _conversation(value: object, field: str) -> ConversationRecord:
    fields = _object(value, field)
    key = identifier(fields.get("id"), f"{field}.id")
    return conversation(key, fields, f"{field}.")


def _each(
    fields: dict[str, Any],
    name: str,
    parse: Callable[[object, str], Value],
    prefix: str = "",
) -> list[Value]:
    values = fields.get(name)
    if values is None:
        return []
    field = prefix + name
    if not isinstance(values, list):
        raise bad_request(field=field, takes="takes a list")
    return [parse(value, f"{field}[{place}]") for place, value in enumerate(values)]


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(field=field, takes="takes a JSON object")
    return value
