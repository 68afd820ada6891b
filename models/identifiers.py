"""The one rule for ids: opaque strings, as the host application has them.

Users and conversations share it. The characters are safe in a URL path, in a Redis key
and in a log line, so nobody further in has to escape an id.
"""

from __future__ import annotations

import re

USER_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
USER_ID_LENGTH = 64


class InvalidIdentifier(ValueError):
    """The value is not an id of a user or of a conversation."""


def check_user_id(value: object) -> str:
    """Return `value` if it is an id; conversation ids obey the same rule.

    Raises:
        InvalidIdentifier: it is not text, or not 1 to 64 of the allowed characters.
    """
    if isinstance(value, str) and USER_ID.fullmatch(value):
        return value
    shown = repr(value)
    if len(shown) > USER_ID_LENGTH + 10:  # a hostile value must not fill the log
        shown = shown[:USER_ID_LENGTH] + "…"
    message = f"{shown} is not an id: it takes 1 to 64 of A-Z a-z 0-9 _ . : @ -"
    raise InvalidIdentifier(message)
