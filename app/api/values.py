"""Checks of single values in requests. A wrong value is answered with 400.

The message names the field, such as `friendships[3][1]`, and says what the field takes.
"""

from __future__ import annotations

from app.errors import ApiError
from models.identifiers import (
    Choice,
    InvalidIdentifier,
    InvalidText,
    check_choice,
    check_shown_text,
    check_text,
    check_user_id,
)


def bad_request(*, field: str, takes: str) -> ApiError:
    """The error for a field with a wrong value."""
    return ApiError(400, "bad_request", f"{field}: {takes}")


def identifier(value: object, field: str) -> str:
    """An id from a path or a body."""
    try:
        return check_user_id(value)
    except InvalidIdentifier as error:
        raise ApiError(400, "invalid_id", f"{field}: {error}") from error


def pair(a: object, b: object, field: str) -> tuple[str, str]:
    """Two ids of different users."""
    one, other = identifier(a, field), identifier(b, field)
    if one == other:
        raise bad_request(
            field=field, takes=f"takes two different users, not {one} twice"
        )
    return one, other


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
    except InvalidText as error:
        raise bad_request(field=field, takes=str(error)) from error


def shown_text(value: object, field: str, most: int) -> str:
    """Text of 1 to `most` characters that a page can show within other text."""
    try:
        return check_shown_text(value, most)
    except InvalidText as error:
        raise bad_request(field=field, takes=str(error)) from error
