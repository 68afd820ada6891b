"""The types of single fields: their rule in the document, and the check of the rule.

A check is a function of `app.api.values`. `Meta(extra=...)` names it, so that
`app.api.schema.checks` finds it. The rest of a `Meta` is for msgspec and the document.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from app.api.values import bad_request, identifier, shown_text, text
from models.emoji import MAX_LENGTH, is_emoji
from models.events import MAX_TIMESTAMP
from models.identifiers import ID_CHARACTERS, TAKES, USER_ID_LENGTH
from models.sql.conversation import TITLE_LENGTH
from models.sql.presence_settings import TEXT_LENGTH
from models.sql.user import DISPLAY_NAME_LENGTH

CHECK = "check"
"""The key of the check in `Meta.extra`: a function of a value and a field's name."""
OF = "of"
"""The key of the items of a list in `Meta.extra`, as an error names them."""

# These are the characters that models.identifiers.NOT_TEXT forbids. Halves of surrogate
# pairs are no valid JSON.
_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_DIRECTIONS = r"\u202a-\u202e\u2066-\u2069"


def emoji(value: object, field: str) -> str:
    """One emoji."""
    if isinstance(value, str) and is_emoji(value):
        return value
    raise bad_request(field=field, takes="takes one emoji")


def end(value: object, field: str) -> int:
    """A time in ms at which something ends. Its caller checks that it lies ahead."""
    if type(value) is int and 0 < value < MAX_TIMESTAMP:
        return value
    takes = "takes a time in the future, in milliseconds since 1970"
    raise bad_request(field=field, takes=takes)


def _url(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    raise bad_request(field=field, takes="takes the URL of a webhook receiver")


def _pattern(pattern: str, **more: object) -> dict[str, Any]:
    # msgspec would search for the pattern with Python's `$`, which also matches before
    # a line break at the end. So the pattern is only shown, and the check is separate.
    return {"pattern": pattern, **more}


Id: TypeAlias = Annotated[
    str,
    Meta(
        description=f"An id, chosen by the host application: {TAKES}.",
        min_length=1,
        max_length=USER_ID_LENGTH,
        extra_json_schema=_pattern(f"^[{ID_CHARACTERS}]+$"),
        extra={CHECK: identifier},
    ),
]
DisplayName: TypeAlias = Annotated[
    str,
    Meta(
        description="The name of the user, on one line.",
        min_length=1,
        max_length=DISPLAY_NAME_LENGTH,
        extra_json_schema=_pattern(f"^[^{_CONTROLS}]*$"),
        extra={CHECK: partial(text, least=1, most=DISPLAY_NAME_LENGTH)},
    ),
]
Title: TypeAlias = Annotated[
    str,
    Meta(
        description="The title of the conversation, on one line.",
        max_length=TITLE_LENGTH,
        extra_json_schema=_pattern(f"^[^{_CONTROLS}]*$"),
        extra={CHECK: partial(text, least=0, most=TITLE_LENGTH)},
    ),
]
ShownText: TypeAlias = Annotated[
    str,
    Meta(
        description=(
            "One line of plain text. Show it as text, never as HTML. It has a visible"
            " character, and no controls of the writing direction."
        ),
        min_length=1,
        max_length=TEXT_LENGTH,
        extra_json_schema=_pattern(
            f"^[^{_CONTROLS}{_DIRECTIONS}]*$", format="shown-text"
        ),
        extra={CHECK: partial(shown_text, most=TEXT_LENGTH)},
    ),
]
Emoji: TypeAlias = Annotated[
    str,
    Meta(
        description="One emoji, as Unicode defines it.",
        min_length=1,
        max_length=MAX_LENGTH,
        extra_json_schema={"format": "emoji"},
        extra={CHECK: emoji},
    ),
]
End: TypeAlias = Annotated[
    int,
    Meta(
        description="A time in the future, in milliseconds since the epoch (1970).",
        gt=0,
        lt=MAX_TIMESTAMP,
        extra_json_schema={"format": "int64"},
        extra={CHECK: end},
    ),
]
Time: TypeAlias = Annotated[
    int,
    Meta(
        description="Milliseconds since the epoch (1970).",
        ge=0,
        extra_json_schema={"format": "int64"},
    ),
]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Url: TypeAlias = Annotated[str, Meta(extra={CHECK: _url})]
Cursor: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "cursor"})]
