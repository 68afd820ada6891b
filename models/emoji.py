"""What counts as one emoji."""

from __future__ import annotations

import regex

MAX_LENGTH = 32
"""Code points. The longest emoji of Unicode 17 has 10."""
# One grapheme (UAX #29) with a character of an emoji: a pictograph, a flag's letter, or
# the frame of a keycap. A plain digit is no emoji.
_EMOJI = regex.compile(
    r"(?=.*[\p{Extended_Pictographic}\p{Regional_Indicator}\u20e3])\X", regex.DOTALL
)


def is_emoji(text: str) -> bool:
    """Whether `text` is one emoji."""
    return len(text) <= MAX_LENGTH and _EMOJI.fullmatch(text) is not None
