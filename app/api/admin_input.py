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
from models.sql.friendship import FriendshipStatus
from models.sql.graph import ConversationRecord
from models.sql.user import DISPLAY_NAME_LENGTH

Value = TypeVar("Value")
Friendship = tuple[str, str, FriendshipStatus]

_PAIR = 2
_PAIR_WITH_STATUS = 3


@dataclass(frozen=True, slots=True)
class Bulk:
    """A checked body of `POST /api/admin/bulk`."""

    users: dict[str, str]
    friendships: list[Friendship]
    conversations: list[ConversationRecord]


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
    """A whole graph or a part of one. Each of the three lists may be missing."""
    lists = {"users", "friendships", "conversations"}
    if not fields or fields.keys() - lists:
        raise bad_request(
            field="body", takes="takes users, friendships and conversations"
        )
    users = _each(fields, "users", _user)
    return Bulk(
        dict(users),
        _each(fields, "friendships", _friendship),
        _each(fields, "conversations", _conversation),
    )


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
    fields: dict[str, Any], name: str, parse: Callable[[object, str], Value]
) -> list[Value]:
    values = fields.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise bad_request(field=name, takes="takes a list")
    return [parse(value, f"{name}[{place}]") for place, value in enumerate(values)]


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(field=field, takes="takes a JSON object")
    return value
