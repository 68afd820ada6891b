"""Imports a graph from CSV files, for example before the host is connected.

A folder may have any of these files, but the last two only together. Each file has a
header line, with columns in any order. Other columns are ignored.

    users.csv          id, display_name (optional)
    friendships.csv    user_a, user_b, status (optional: accepted)
    conversations.csv  id, title (optional)
    participants.csv   conversation_id, user_id

Everything in the files is created or replaced, as `models.sql.graph.load_bulk` does it.
A conversation gets exactly the participants in participants.csv. If a name or a title
is missing, the stored one stays. A new user without a name gets its id as name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import Column, select
from sqlalchemy.orm import Session

from models.identifiers import check_choice, check_text, check_user_id
from models.sql.conversation import TITLE_LENGTH, conversation_table
from models.sql.csv_rows import FILES, BadRow, CsvRow, ImportFailed, csv_rows
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph import (
    MAX_PAIRS,
    ConversationRecord,
    GraphChange,
    TooManyParticipants,
    UnknownUser,
    load_bulk,
)
from models.sql.sql_arrays import among, text_list
from models.sql.user import DISPLAY_NAME_LENGTH, user_table

TOGETHER = ("conversations.csv", "participants.csv")
"""A conversation is replaced as a whole, so without the second file it would be
empty."""
ROWS_PER_CALL = 50_000


@dataclass(frozen=True, slots=True)
class Imported:
    """The number of rows in the files, and the relations that changed."""

    users: int
    friendships: int
    conversations: int
    participants: int
    change: GraphChange


def import_csv(session: Session, folder: Path) -> Imported:
    """Load the files in `folder`, all or none of them. The caller commits.

    Raises:
        ImportFailed: there are no files, or one of them is wrong. The caller must roll
            back.
    """
    if not any((folder / name).is_file() for name in FILES):
        message = f"{folder} has none of {', '.join(FILES)}"
        raise ImportFailed(message)
    present = [name for name in TOGETHER if (folder / name).is_file()]
    if len(present) == 1:
        message = f"{present[0]} is alone: {' and '.join(TOGETHER)} belong together"
        raise ImportFailed(message)
    return _Import(folder).load(session)


class _Import:
    """The files of one folder. All are read and checked before the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._named_at: dict[str, str] = {}  # user id -> file and line, for messages
        self.users: dict[str, str] = {}
        self.friendships: dict[tuple[str, str], FriendshipStatus] = {}
        self.titles: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self._read_users()
        self._read_friendships()
        self._read_conversations()

    def load(self, session: Session) -> Imported:
        """Write everything, in slices that are small enough for `load_bulk`."""
        for named, column in (
            (self.users, user_table.c.display_name),
            (self.titles, conversation_table.c.title),
        ):
            _keep_names(session, named, column)
        for user_id, name in self.users.items():
            self.users[user_id] = name or user_id
        return Imported(
            len(self.users),
            len(self.friendships),
            len(self.titles),
            sum(map(len, self.members.values())),
            self._load(session),
        )

    def _load(self, session: Session) -> GraphChange:
        try:
            change = load_bulk(session, self.users)
            rows = ((*pair, status) for pair, status in self.friendships.items())
            while part := list(islice(rows, ROWS_PER_CALL)):
                change = change.combined_with(load_bulk(session, friendships=part))
            for conversations in self._slices():
                loaded = load_bulk(session, conversations=conversations)
                change = change.combined_with(loaded)
        except UnknownUser as error:
            user_id = error.user_ids[0]
            message = f"{self._named_at[user_id]}: unknown user {user_id}"
            raise ImportFailed(message) from error
        except TooManyParticipants as error:
            message = f"participants.csv: {error}"
            raise ImportFailed(message) from error
        return change

    def _slices(self) -> Iterator[list[ConversationRecord]]:
        part: list[ConversationRecord] = []
        pairs = 0
        for key, title in self.titles.items():
            members = self.members[key]
            pairs += len(members) ** 2 // 2
            if part and pairs > MAX_PAIRS:
                yield part
                part, pairs = [], len(members) ** 2 // 2
            part.append(ConversationRecord(key, title, frozenset(members)))
        if part:
            yield part

    def _read_users(self) -> None:
        for row in self._rows("users.csv", "id"):
            user_id = row.take("id", check_user_id)
            self.users[user_id] = row.check(
                "display_name",
                row.text("display_name"),
                lambda text: check_text(text, 0, DISPLAY_NAME_LENGTH),
            )

    def _read_friendships(self) -> None:
        for row in self._rows("friendships.csv", "user_a", "user_b"):
            one = row.take("user_a", check_user_id)
            other = row.take("user_b", check_user_id)
            pair = row.check("user_b", other, partial(canonical, one))
            status = row.text("status") or FriendshipStatus.ACCEPTED
            self.friendships[pair] = row.check(
                "status", status, partial(check_choice, FriendshipStatus)
            )
            self._name(one, row)
            self._name(other, row)

    def _read_conversations(self) -> None:
        for row in self._rows("conversations.csv", "id"):
            key = row.take("id", check_user_id)
            self.titles[key] = row.check(
                "title",
                row.text("title"),
                lambda text: check_text(text, 0, TITLE_LENGTH),
            )
            self.members[key] = set()
        for row in self._rows("participants.csv", "conversation_id", "user_id"):
            key = row.take("conversation_id", check_user_id)
            user_id = row.take("user_id", check_user_id)
            if key not in self.members:
                raise row.wrong(
                    column="conversation_id", why=f"{key} is not in conversations.csv"
                )
            self.members[key].add(user_id)
            self._name(user_id, row)

    def _name(self, user_id: str, row: CsvRow) -> None:
        self._named_at.setdefault(user_id, row.place)

    def _rows(self, name: str, *required: str) -> Iterator[CsvRow]:
        for row in csv_rows(self._folder, name, required):
            if isinstance(row, BadRow):
                raise row
            yield row


def _keep_names(session: Session, named: dict[str, str], column: Column[str]) -> None:
    """Fill in the stored name of each entry of `named` (id -> name) without a name."""
    table = column.table
    known = select(table.c.id, column).where(among(table.c.id, text_list("ids")))
    nameless = [key for key, name in named.items() if not name]
    for start in range(0, len(nameless), ROWS_PER_CALL):
        asked = {"ids": nameless[start : start + ROWS_PER_CALL]}
        named.update((key, name) for key, name in session.execute(known, asked))
