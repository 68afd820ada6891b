"""Audiences: which users are relevant to each other. This module only reads.

Two users are relevant to each other if they are accepted friends or share a
conversation, unless the pair is blocked. No user is relevant to itself. `_RELEVANT` is
this definition in SQL, and `test_audience.py` checks it against plain Python.

`audiences` runs once per batch of transitions, so these statements are sent as text
that was compiled once (`models.sql.statements`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    bindparam,
    exists,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.functions import FunctionElement

from models.identifiers import ids_in, joined_ids
from models.sql.conversation import conversation_table, participant_table
from models.sql.friendship import ACCEPTED, BLOCKED, friendship_table
from models.sql.presence_settings import settings_table
from models.sql.sql_arrays import (
    among,
    each_pair,
    joined,
    joined_once,
    pair_list,
    text_list,
)
from models.sql.statements import Reader, Statement

Value = TypeVar("Value")

PAIRS_PER_STATEMENT = 20_000
USERS_PER_STATEMENT = 200
"""Users whose audiences are read together, if there is no other limit. In the largest
conversation they have a million partners."""
MAX_LOOKUPS_PER_USER = 8
"""With more pairs per user than this, it is cheaper to read whole audiences."""


def relevant_users(reader: Reader, user_ids: Iterable[str]) -> dict[str, set[str]]:
    """The audience of each of `user_ids`, by one statement for any number of them. Each
    id is a key of the result; unknown users have an empty set."""
    return _RELEVANT.read(reader, user_ids)


def relevant_users_in_parts(
    reader: Reader, user_ids: Iterable[str]
) -> Iterator[tuple[str, set[str]]]:
    """Like `relevant_users`, for users whose audiences together may be too large for
    one read."""
    for part in _parts(user_ids, USERS_PER_STATEMENT):
        yield from relevant_users(reader, part).items()


def audiences(reader: Reader, user_ids: Iterable[str]) -> dict[str, str]:
    """Like `relevant_users`, but each audience is one text, as the database returns it
    (see `joined_ids`). A friend who also shares a conversation is in the text twice.

    The fan-out passes this text on without splitting it.
    """
    return _RELEVANT.read_joined(reader, user_ids)


def users_with_settings(reader: Reader, user_ids: Iterable[str]) -> set[str]:
    """Those of `user_ids` who have presence settings. They may be hidden from a part of
    their audience (`models.sql.visibility`); all others are visible to all of it."""
    rows = _WITH_SETTINGS.rows(reader, {"ids": list(user_ids)})
    return {user_id for (user_id,) in rows}


def split_audiences(joined: Mapping[str, str]) -> dict[str, set[str]]:
    """Turn the result of `audiences` into that of `relevant_users`."""
    return {user_id: set(ids_in(others)) for user_id, others in joined.items()}


def friends_of(reader: Reader, user_ids: Iterable[str]) -> dict[str, set[str]]:
    """The accepted friends of each of `user_ids`, in the form of `relevant_users`."""
    return _FRIENDS.read(reader, user_ids)


def partners_of(reader: Reader, user_ids: Iterable[str]) -> dict[str, set[str]]:
    """The users who share a conversation with each of `user_ids`, without blocked
    pairs, in the form of `relevant_users`."""
    return _PARTNERS.read(reader, user_ids)


def participants_of(reader: Reader, conversation_id: str) -> set[str] | None:
    """All participants of the conversation, or None if it does not exist.

    Blocked pairs are included, since there is no viewer here. A participant may see the
    intersection of this set and its own `partners_of`.
    """
    # An empty conversation gives one row without a participant.
    rows = _PARTICIPANTS.rows(reader, {"conversation_id": conversation_id})
    if not rows:
        return None
    return {user_id for (user_id,) in rows if user_id is not None}


def relevant_pairs(
    reader: Reader, pairs: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Which of `pairs` (each with the smaller id first) are relevant now.

    If few users make many pairs, as in a conversation, this reads the audiences of the
    users, which costs less per pair. Otherwise it looks up each pair.
    """
    found: set[tuple[str, str]] = set()
    firsts = {one for one, _ in pairs}
    if len(pairs) > MAX_LOOKUPS_PER_USER * len(firsts):
        others: dict[str, list[str]] = {one: [] for one in firsts}
        for one, other in pairs:
            others[one].append(other)
        for one, audience in relevant_users_in_parts(reader, firsts):
            found.update((one, other) for other in others[one] if other in audience)
        return found
    for part in _parts(pairs, PAIRS_PER_STATEMENT):
        rows = reader.execute(_RELEVANT_PAIRS, {"pairs": part})
        found.update((one, other) for one, other in rows)
    return found


def _parts(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    left = iter(values)
    while part := list(islice(left, size)):
        yield part


@dataclass(frozen=True, slots=True)
class _Relation:
    """Two statements that read the same relation: of one user, and of many users. For
    one user, `to_many` would take the database twice as long as `to_one`."""

    to_one: Statement
    to_many: Statement

    def read(self, reader: Reader, user_ids: Iterable[str]) -> dict[str, set[str]]:
        return split_audiences(self.read_joined(reader, user_ids))

    def read_joined(self, reader: Reader, user_ids: Iterable[str]) -> dict[str, str]:
        related = dict.fromkeys(user_ids, "")
        if not related:
            return related
        if len(related) == 1:
            (user_id,) = related
            rows = self.to_one.rows(reader, {"user_id": user_id})
        else:
            rows = self.to_many.rows(reader, {"ids": list(related)})
        for user_id, others in rows:
            before = related[user_id]
            related[user_id] = joined_ids((before, others)) if before else others
        return related


def _in_one_text(
    user: ColumnElement[str], others: FunctionElement[str]
) -> Select[str, str]:
    """Rows (user, all others as one text). With a row per pair, reading the rows would
    take a third of the worker's time. The database joins texts much faster than it
    sends rows."""
    return select(user, others).group_by(user)


def _friends(
    asked_a: ColumnElement[bool], asked_b: ColumnElement[bool]
) -> list[Select[str, str]]:
    """Rows (user, friends) for the asked users: one SELECT for each side of the
    pair."""
    a, b, status = (
        friendship_table.c.user_a,
        friendship_table.c.user_b,
        friendship_table.c.status,
    )
    return [
        _in_one_text(a, joined(b)).where(asked_a, status == ACCEPTED),
        _in_one_text(b, joined(a)).where(asked_b, status == ACCEPTED),
    ]


_me = participant_table.alias("me")
_them = participant_table.alias("them")


def _partners(asked: ColumnElement[bool]) -> Select[str, str]:
    """Rows (user, partners) for the asked users."""
    me, them = _me.c.user_id, _them.c.user_id
    return (
        _in_one_text(me, joined_once(them))
        .join_from(_me, _them, _me.c.conversation_id == _them.c.conversation_id)
        .where(asked, me != them, ~_blocked(me, them), ~_blocked(them, me))
    )


def _blocked(a: ColumnElement[str], b: ColumnElement[str]) -> ColumnElement[bool]:
    """The condition that the pair is stored in this order and blocked. Costs one lookup
    in an index."""
    return has_friendship(a, b, BLOCKED)


def has_friendship(
    a: ColumnElement[str], b: ColumnElement[str], status: ColumnElement[str]
) -> ColumnElement[bool]:
    """The condition that the pair is stored in this order, with this status."""
    row = friendship_table.alias()
    return exists().where(row.c.user_a == a, row.c.user_b == b, row.c.status == status)


def _pairs() -> Select[str, str]:
    pair = each_pair(pair_list("pairs")).table_valued("value", name="pair")
    one = pair.c.value.op("->>", return_type=String())(0)
    other = pair.c.value.op("->>", return_type=String())(1)
    shared = exists().where(
        _me.c.conversation_id == _them.c.conversation_id,
        _me.c.user_id == one,
        _them.c.user_id == other,
    )
    return select(one, other).where(
        or_(
            has_friendship(one, other, ACCEPTED),
            and_(shared, ~_blocked(one, other)),
        )
    )


_one: ColumnElement[str] = bindparam("user_id", type_=String())
_ids = text_list("ids")
_friends_of_one = _friends(
    friendship_table.c.user_a == _one, friendship_table.c.user_b == _one
)
_friends_of_many = _friends(
    among(friendship_table.c.user_a, _ids), among(friendship_table.c.user_b, _ids)
)
_partners_of_one = _partners(_me.c.user_id == _one)
_partners_of_many = _partners(among(_me.c.user_id, _ids))
_RELEVANT = _Relation(
    Statement(union_all(*_friends_of_one, _partners_of_one)),
    Statement(union_all(*_friends_of_many, _partners_of_many)),
)
_FRIENDS = _Relation(
    Statement(union_all(*_friends_of_one)), Statement(union_all(*_friends_of_many))
)
_PARTNERS = _Relation(Statement(_partners_of_one), Statement(_partners_of_many))
_RELEVANT_PAIRS = _pairs()
_WITH_SETTINGS = Statement(
    select(settings_table.c.user_id).where(among(settings_table.c.user_id, _ids))
)
_PARTICIPANTS = Statement(
    select(participant_table.c.user_id)
    .select_from(
        conversation_table.outerjoin(
            participant_table,
            participant_table.c.conversation_id == conversation_table.c.id,
        )
    )
    .where(conversation_table.c.id == bindparam("conversation_id", type_=String()))
)
