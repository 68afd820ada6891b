"""What the prose linter takes for prose, and what our own rules find in it."""

from __future__ import annotations

import pytest

from tests.prose import (
    Sentence,
    commented_blocks,
    has_double_negative,
    has_noun_who,
    is_too_long,
    markdown_blocks,
    own_findings,
    proselint_findings,
    python_blocks,
    sentences,
)

MARKDOWN = """\
# Who may connect

Call `connect("a b")` first.
Then wait: see [the page](page.md). Version 1.2 is enough, e.g. Redis.

- one item
  that goes on
- another. `x` and others do. redis-py does ... too.

| who comes back | is online |
|---|---|
| who leaves | is offline |

```sh
who asks on is served on
```
"""

PYTHON = '''\
"""The module. It has two sentences."""
# A comment
# of two lines.
X = "not prose"  # nor is this
LIMIT = 3
"""Times a call
is tried."""


def call(user):
    """Call it.

        code = "in a block"

    Args:
        user: the one
            that calls
        other: not used

    Raises:
        ValueError: it is `not` here
    """
    log.info("called %s in %d s", user, 3)
    message = f"no {user!r} here"
    raise ValueError(message)
'''

LUA = """\
-- Take a ticket.
--
-- KEYS:    1 the ticket
-- Returns: its user
local x = 1 -- not read
"""


def found(blocks):
    return [(s.line, s.text) for block in blocks for s in sentences(block)]


def test_prose_in_markdown():
    assert found(markdown_blocks(MARKDOWN)) == [
        (1, "Who may connect"),
        (3, "Call Code first."),
        (4, "Then wait: see the page."),
        (4, "Version 1.2 is enough, e.g. Redis."),
        (6, "one item that goes on"),
        (8, "another."),
        (8, "Code and others do."),
        (8, "redis-py does ... too."),
    ]


def test_prose_in_python():
    assert sorted(found(python_blocks(PYTHON))) == [
        (1, "It has two sentences."),
        (1, "The module."),
        (2, "A comment of two lines."),
        (6, "Times a call is tried."),
        (11, "Call it."),
        (16, "user: the one that calls"),
        (18, "other: not used"),
        (21, "ValueError: it is Code here"),
        (23, "called Code in Code s"),
        (24, "no Code here"),
    ]


def test_prose_in_lua():
    expected = [(1, "Take a ticket."), (4, "its user")]
    assert found(commented_blocks(LUA)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Who asks on at once would be served on at once.",
        "Whoever waits for a connection waits in a queue.",
        "It closes the socket: who comes back when told is never offline.",
        "It is over at once for who comes back at once.",
        "It takes the processor from those who tell friends of it.",
        "It tells whom it can reach.",
        "It lists changes, and of whom they are.",
    ],
)
def test_who_as_a_noun(text):
    assert has_noun_who(Sentence(1, text, is_heading=False))


@pytest.mark.parametrize(
    "text",
    [
        "Who is online, for asyncio.",
        "Who is relevant to whom: the rules one by one.",
        "A user who leaves is offline after the grace.",
        "It says who is online.",
        "Who holds whom, and how they are reached.",
        "It stores the users whom the database does not know.",
        "Who wins?",
        "The model: who really is online.",
        "Close the socket a little later: notifying friends comes first.",
    ],
)
def test_who_in_its_place(text):
    assert not has_noun_who(Sentence(1, text, is_heading=False))


@pytest.mark.parametrize(
    "text",
    [
        "That is not uncommon.",
        "Nobody is not told.",
        "There is no answer without a question.",
        "Nothing happens without a lock.",
    ],
)
def test_double_negative(text):
    assert has_double_negative(Sentence(1, text, is_heading=False))


@pytest.mark.parametrize(
    "text",
    [
        "It is not until then that it ends.",
        "It is not under a lock.",
        "No user may see a friend that is not online.",
        "None where it is not known.",
        "No cookie, no token and no ticket.",
        "Nothing was committed and nothing is announced.",
        "It does not start without a secret.",
    ],
)
def test_single_negative(text):
    assert not has_double_negative(Sentence(1, text, is_heading=False))


def test_long_sentences():
    words = "word " * 30
    assert not is_too_long(Sentence(1, f"{words} 1 2 3.", is_heading=False))
    assert is_too_long(Sentence(1, f"{words} word.", is_heading=False))
    codes = "Code, Code or Code, " * 20
    assert not is_too_long(Sentence(1, f"{codes}Code.", is_heading=False))


def test_what_both_linters_find_has_its_line():
    blocks = list(markdown_blocks("# Title\n\nFine.\nWho asks is served it it.\n"))
    assert [(one.line, one.rule) for one in own_findings(blocks)] == [
        (4, '"who" as a noun')
    ]
    (repeated,) = proselint_findings(blocks)
    assert repeated.line == 4
    assert "it it" in repeated.rule


def test_paragraphs_are_no_repetition():
    blocks = list(markdown_blocks("# Greendot\n\nGreendot is here: `a` `b`.\n"))
    assert not list(proselint_findings(blocks))
