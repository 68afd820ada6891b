"""Reads the CSV files of a sync. Each file is the whole truth about its kind.

A folder may have any of these files. Other columns are ignored. A kind without a file
is left alone.

    users.csv          id, display_name (optional)
    friendships.csv    user_a, user_b (or: user, friend)
    conversations.csv  id, title (optional)
    participants.csv   conversation_id, user_id (or: conversation, user)

A row that is wrong is left out. If it names something that may be stored, that is
neither changed nor deleted. If it cannot be read what it names, nothing of its kind is
deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from models.identifiers import check_text, check_user_id
from models.sql.conversation import MAX_PARTICIPANTS, TITLE_LENGTH
from models.sql.csv_rows import FILES, BadRow, CsvRow, ImportFailed, csv_rows
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.user import DISPLAY_NAME_LENGTH

Key = TypeVar("Key")
Pair = tuple[str, str]

USERS, FRIENDSHIPS, CONVERSATIONS, PARTICIPANTS = FILES
_A, _B = ("user_a", "user"), ("user_b", "friend")
_CONVERSATION, _USER = ("conversation_id", "conversation"), ("user_id", "user")
_MEMBER = "user_id"


@dataclass(slots=True)
class Listed(Generic[Key]):
    """What a file lists."""

    rows: dict[Key, tuple[str, int]] = field(default_factory=dict)
    """Key -> a text (the name or title, '' if none is given), and its line."""
    left_alone: set[Key] = field(default_factory=set)
    """Keys of rows that are wrong."""
    may_delete: bool = True
    """Whether the keys of all rows could be read."""


@dataclass(slots=True)
class GraphFiles:
    """The files of one folder. None: there is no such file."""

    users: Listed[str] | None = None
    friendships: Listed[Pair] | None = None
    """Pairs in canonical order."""
    conversations: Listed[str] | None = None
    participants: Listed[Pair] | None = None
    """Pairs of a conversation and a user."""
    too_large: set[str] = field(default_factory=set)
    """Conversations with too many participants. They keep those that they have."""
    bad_rows: list[BadRow] = field(default_factory=list)


def read_files(folder: Path) -> GraphFiles:
    """Read and check all files in `folder`.

    Raises:
        ImportFailed: there are none, or one cannot be read at all. The message names
            the file.
    """
    present = [name for name in FILES if (folder / name).is_file()]
    if not present:
        message = f"{folder} has none of {', '.join(FILES)}"
        raise ImportFailed(message)
    found = GraphFiles()
    read = partial(_read, folder, found.bad_rows)
    if USERS in present:
        name = partial(check_text, least=0, most=DISPLAY_NAME_LENGTH)
        found.users = read(USERS, ("id",), _id, _text_of("display_name", name))
    if FRIENDSHIPS in present:
        found.friendships = read(FRIENDSHIPS, (_A, _B), _friends, _check_friends)
    if CONVERSATIONS in present:
        title = partial(check_text, least=0, most=TITLE_LENGTH)
        found.conversations = read(
            CONVERSATIONS, ("id",), _id, _text_of("title", title)
        )
    if PARTICIPANTS in present:
        found.participants = read(
            PARTICIPANTS, (_CONVERSATION, _USER), _participant, lambda _: ""
        )
        _find_too_large(found)
    return found


def _read(
    folder: Path,
    bad_rows: list[BadRow],
    name: str,
    required: tuple[str | tuple[str, ...], ...],
    key_of: Callable[[CsvRow], Key],
    text_of: Callable[[CsvRow], str],
) -> Listed[Key]:
    listed: Listed[Key] = Listed()
    for row in csv_rows(folder, name, required):
        try:
            if isinstance(row, BadRow):
                raise row
            row.check_size()
            key = key_of(row)
        except BadRow as error:
            bad_rows.append(error)
            listed.may_delete = False
            continue
        try:
            text = text_of(row)
            _check_unlike(listed, key, text, row)
        except BadRow as error:
            bad_rows.append(error)
            listed.left_alone.add(key)
        else:
            listed.rows.setdefault(key, (text, row.line))
    for key in listed.left_alone:
        listed.rows.pop(key, None)
    return listed


def _check_unlike(listed: Listed[Key], key: Key, text: str, row: CsvRow) -> None:
    """A row that is repeated does no harm, but which of two names is right?"""
    known = listed.rows.get(key)
    if known is not None and known[0] != text:
        message = f"{key} is also in line {known[1]}, with another text"
        raise BadRow(row.file, row.line, message)


def _text_of(column: str, check: Callable[[str], str]) -> Callable[[CsvRow], str]:
    return lambda row: row.take(column, check)


def _id(row: CsvRow) -> str:
    return row.take("id", check_user_id)


def _friends(row: CsvRow) -> Pair:
    one, other = (row.take(names[0], check_user_id) for names in (_A, _B))
    return (one, other) if one < other else (other, one)


def _check_friends(row: CsvRow) -> str:
    row.check(_B[0], row.text(_B[0]), partial(canonical, row.text(_A[0])))
    return row.take("status", _check_accepted)


def _check_accepted(status: str) -> str:
    if status not in ("", FriendshipStatus.ACCEPTED):
        message = f"{status!r:.40} is left alone, because a sync sets accepted only"
        raise ValueError(message)
    return ""


def _participant(row: CsvRow) -> Pair:
    names = (_CONVERSATION[0], _MEMBER)
    conversation, user = (row.take(name, check_user_id) for name in names)
    return conversation, user


def _find_too_large(found: GraphFiles) -> None:
    listed = found.participants
    assert listed is not None  # noqa: S101 - the caller has read it
    sizes: dict[str, int] = {}
    first_too_many: dict[str, int] = {}
    for (conversation, _), (_, line) in listed.rows.items():
        sizes[conversation] = sizes.get(conversation, 0) + 1
        if sizes[conversation] == MAX_PARTICIPANTS + 1:
            first_too_many[conversation] = line
    for conversation, line in first_too_many.items():
        message = (
            f"conversation {conversation} has {sizes[conversation]} participants; at "
            f"most {MAX_PARTICIPANTS} are allowed. It keeps those that it has"
        )
        found.bad_rows.append(BadRow(PARTICIPANTS, line, message))
        found.too_large.add(conversation)
