"""Pages of all users and of all conversations, in the order of their ids. This module
only reads.

A page begins after an id, not after a number of rows. So a row that exists all the time
is on exactly one page, whatever is created or deleted meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Integer, String, bindparam, func, select
from sqlalchemy.sql import ColumnElement

from models.identifiers import ids_in
from models.sql.conversation import conversation_table, participant_table
from models.sql.sql_arrays import joined
from models.sql.statements import Reader, Row
from models.sql.user import user_table

MAX_PARTICIPANTS_PER_PAGE = 20_000
"""A page of conversations ends before it has more participants than this, but has at
least one conversation."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list. The next page begins after the id `next`; None at the end."""

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user in a list."""

    id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation in a list. The participants are sorted."""

    id: str
    title: str
    participants: Sequence[str]


def users_page(reader: Reader, after: str, limit: int) -> Page[UserRow]:
    """At most `limit` users whose ids come after `after`. Every id comes after ''."""
    rows = reader.execute(_USERS, {"after": after, "count": limit + 1}).all()
    has_more = len(rows) > limit
    users = [UserRow(*row) for row in rows[:limit]]
    return Page(users, users[-1].id if has_more else None)


def conversations_page(reader: Reader, after: str, limit: int) -> Page[ConversationRow]:
    """At most `limit` conversations whose ids come after `after`, and fewer if they
    have many participants."""
    sizes = reader.execute(_SIZES, {"after": after, "count": limit + 1}).all()
    count = _fitting(sizes, limit)
    if not count:
        return Page([], None)
    last = sizes[count - 1][0]
    rows = reader.execute(_CONVERSATIONS, {"after": after, "last": last})
    return Page(
        [
            ConversationRow(key, title, sorted(ids_in(of or "")))
            for key, title, of in rows
        ],
        last if count < len(sizes) else None,
    )


def _fitting(sizes: Sequence[Row], limit: int) -> int:
    """How many of the conversations fit on a page. `sizes` has rows (id, participants)
    in the order of the list."""
    total = 0
    for number, (_, size) in enumerate(sizes[:limit]):
        total += size
        if number and total > MAX_PARTICIPANTS_PER_PAGE:
            return number
    return min(limit, len(sizes))


_after: ColumnElement[str] = bindparam("after", type_=String())
_last: ColumnElement[str] = bindparam("last", type_=String())
_count: ColumnElement[int] = bindparam("count", type_=Integer())
_id = conversation_table.c.id
_of_conversation = participant_table.c.conversation_id == _id
_USERS = (
    select(user_table.c.id, user_table.c.display_name)
    .where(user_table.c.id > _after)
    .order_by(user_table.c.id)
    .limit(_count)
)
# A subquery for each row: a join with GROUP BY would read all conversations.
_SIZES = (
    select(
        _id,
        select(func.count())
        .select_from(participant_table)
        .where(_of_conversation)
        .scalar_subquery(),
    )
    .where(_id > _after)
    .order_by(_id)
    .limit(_count)
)
_CONVERSATIONS = (
    select(
        _id,
        conversation_table.c.title,
        select(joined(participant_table.c.user_id))
        .where(_of_conversation)
        .scalar_subquery(),
    )
    .where(_id > _after, _id <= _last)
    .order_by(_id)
)
