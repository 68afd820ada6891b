"""What counts as one emoji."""

from __future__ import annotations

import regex

MAX_LENGTH = 32
"""Code points. The longest emoji of Unicode 17 has 10."""
# UTS #51, section 1.4.9: a flag, a keycap, or another character with an optional skin
# tone, presentation selector or tags. Several of them may be joined. A plain digit is
# no emoji.
_PART = (
    r"(?:\p{Regional_Indicator}{2}"
    r"|[0-9#*]\uFE0F?\u20E3"
    r"|(?![0-9#*\p{Regional_Indicator}])\p{Emoji}"
    r"(?:\p{Emoji_Modifier}|\uFE0F|[\U000E0020-\U000E007E]+\U000E007F)?)"
)
_EMOJI = regex.compile(rf"{_PART}(?:\u200D{_PART})*")


def is_emoji(text: str) -> bool:
    """Whether `text` is one emoji."""
    return len(text) <= MAX_LENGTH and _EMOJI.fullmatch(text) is not None
