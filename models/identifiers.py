"""The rules for the host application's ids and texts.

Ids are opaque strings, with one rule for users and conversations. It admits the ids of
identity providers (`auth0|5f7c8ec7`, `ann+work@example.com`). Their characters are safe
in a Redis key and in a log line, so no other code must escape them. In the path of a
URL `|` and `+` are safe; in a query string write `%2B` for `+`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import regex

USER_ID_LENGTH = 128
ID_CHARACTERS = "A-Za-z0-9_.:@|+-"
"""As they stand between the brackets of a regular expression."""
USER_ID = re.compile(rf"[{ID_CHARACTERS}]{{1,{USER_ID_LENGTH}}}")
TAKES = f"1 to {USER_ID_LENGTH} of A-Z a-z 0-9 _ . : @ | + -"
Choice = TypeVar("Choice", bound=StrEnum)
SEPARATOR = ","
"""Separates ids. No id contains it."""


def joined_ids(ids: Iterable[str]) -> str:
    """`ids` as one text. The database joins ids in the same form."""
    return SEPARATOR.join(ids)


def ids_in(text: str) -> list[str]:
    """Inverse of `joined_ids`."""
    return text.split(SEPARATOR) if text else []


def count_ids(text: str) -> int:
    """How many ids `ids_in` would return."""
    return text.count(SEPARATOR) + 1 if text else 0


class InvalidIdentifier(ValueError):
    """The value is not an id of a user or a conversation."""


def check_user_id(value: object) -> str:
    """Return `value` if it is an id of a user or a conversation.

    Raises:
        InvalidIdentifier: it is not a string, or not 1 to 128 of the allowed
            characters.
    """
    if isinstance(value, str) and USER_ID.fullmatch(value):
        return value
    shown = repr(value)
    if len(shown) > USER_ID_LENGTH + 10:  # a hostile value must not fill the log
        shown = shown[:USER_ID_LENGTH] + "…"
    takes = f"takes {TAKES}" if isinstance(value, str) else "must be a string"
    message = f"{shown} is not an id: it {takes}"
    raise InvalidIdentifier(message)


def check_choice(kind: type[Choice], value: object) -> Choice:
    """The member of `kind` whose value is `value`.

    Raises:
        ValueError: there is none. The message names the valid ones.
    """
    for one in kind:
        if one.value == value:
            return one
    *first, last = (one.value for one in kind)
    message = f"takes {', '.join(first)} or {last}"
    raise ValueError(message)


NOT_TEXT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that no name or title may contain."""


class InvalidText(ValueError):
    """The value is not a name or title that can be stored and shown."""


def check_text(value: object, least: int, most: int) -> str:
    """Return `value` if it is text of `least` to `most` characters on one line.

    Raises:
        InvalidText: it is not. The message says which text is allowed.
    """
    if (
        isinstance(value, str)
        and least <= len(value) <= most
        # Cc: control characters. PostgreSQL refuses NUL, and pages cannot show them.
        # Cs: halves of surrogate pairs, which no database can encode.
        # Zl and Zp: separators of lines and paragraphs.
        and not any(unicodedata.category(each) in NOT_TEXT for each in value)
    ):
        return value
    message = f"takes text of {least} to {most} characters, without line breaks"
    raise InvalidText(message)


def check_shown_text(value: object, most: int) -> str:
    """Return `value` if it is text on one line that a page can show within other text.

    Raises:
        InvalidText: it is not: it has no visible character, or it contains controls of
            the writing direction. Those would turn around the text beside it.
    """
    text = check_text(value, 1, most)
    if _VISIBLE.search(text) is None:
        message = "takes text with at least one visible character"
        raise InvalidText(message)
    if _DIRECTION.search(text):
        message = "takes text without controls of the writing direction"
        raise InvalidText(message)
    return text


# White space, characters without a glyph, and the empty Braille pattern are invisible.
_VISIBLE = regex.compile(
    r"[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cf}\u2800]"
)
# Embeddings, overrides and isolates (UAX #9, section 2).
_DIRECTION = regex.compile(r"[\u202A-\u202E\u2066-\u2069]")
