"""The locks and row writes of `models.sql.graph`.

Many rows go into one `executemany`, in the order of their keys, so that two writers of
the same rows cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    bindparam,
    delete,
    false,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from models.sql.conversation import conversation_table, participant_table
from models.sql.db import execute_many, upsert
from models.sql.friendship import FriendshipStatus, friendship_table
from models.sql.sql_arrays import among, each_pair, pair_list, text_list
from models.sql.statements import Statement
from models.sql.user import user_table


def take_write_lock(session: Session) -> None:
    """On SQLite, become the only writer now, before any read.

    A transaction that reads first and writes later fails at once if another one wrote
    in between, whatever the busy timeout is. The statement here changes no row.
    PostgreSQL locks rows, so there this function does nothing.
    """
    if session.get_bind().dialect.name == "sqlite":
        session.execute(update(user_table).where(false()).values(display_name=""))


def lock_users(session: Session, user_ids: Iterable[str]) -> set[str]:
    """Lock the users until the commit. Returns the ids of the users that exist.

    With the lock, a read before and a read after a write differ by that write alone. It
    is the weaker lock (NO KEY UPDATE): foreign key checks do not wait for it.
    """
    take_write_lock(session)
    statement = (
        select(user_table.c.id)
        .where(among(user_table.c.id, text_list("ids")))
        .order_by(user_table.c.id)
        .with_for_update(key_share=True)
    )
    return set(session.scalars(statement, {"ids": list(user_ids)}))


def lock_conversations(
    session: Session, conversation_ids: Iterable[str]
) -> dict[str, set[str]]:
    """Lock the conversations until the commit. Returns id -> participants for each
    id."""
    take_write_lock(session)
    members: dict[str, set[str]] = {key: set() for key in conversation_ids}
    if not members:
        return members
    asked = {"ids": list(members)}
    ids = text_list("ids")
    lock = (
        select(conversation_table.c.id)
        .where(among(conversation_table.c.id, ids))
        .order_by(conversation_table.c.id)
        .with_for_update(key_share=True)
    )
    session.execute(lock, asked)
    rows = select(participant_table).where(
        among(participant_table.c.conversation_id, ids)
    )
    for conversation_id, user_id in session.execute(rows, asked):
        members[conversation_id].add(user_id)
    return members


def stored_conversations(session: Session, conversation_ids: Iterable[str]) -> set[str]:
    """Which of the conversations exist."""
    rows = select(conversation_table.c.id).where(
        among(conversation_table.c.id, text_list("ids"))
    )
    return set(session.scalars(rows, {"ids": list(conversation_ids)}))


def put_conversation_rows(session: Session, titles: Mapping[str, str]) -> None:
    """Create conversations or set their titles: id -> title."""
    insert = upsert(session, conversation_table)
    statement = insert.on_conflict_do_update(
        index_elements=["id"], set_={"title": insert.excluded.title}
    )
    rows = [{"id": key, "title": titles[key]} for key in sorted(titles)]
    execute_many(session, statement, rows)


def put_friendship_rows(
    session: Session, statuses: Mapping[tuple[str, str], FriendshipStatus]
) -> None:
    """Create friendships (pairs in canonical order) or set their status."""
    insert = upsert(session, friendship_table)
    statement = insert.on_conflict_do_update(
        index_elements=["user_a", "user_b"], set_={"status": insert.excluded.status}
    )
    rows = [
        {"user_a": a, "user_b": b, "status": status}
        for (a, b), status in sorted(statuses.items())
    ]
    execute_many(session, statement, rows)


def add_participants(session: Session, added: Mapping[str, Collection[str]]) -> None:
    """Add users to conversations: conversation id -> user ids."""
    rows = [
        {"conversation_id": key, "user_id": user_id}
        for key in sorted(added)
        for user_id in sorted(added[key])
    ]
    insert = upsert(session, participant_table)
    execute_many(session, insert.on_conflict_do_nothing(), rows)


def remove_participants(
    session: Session, conversation_id: str, user_ids: Collection[str]
) -> None:
    """Remove the users from the conversation."""
    if not user_ids:
        return
    session.execute(
        delete(participant_table).where(
            participant_table.c.conversation_id == conversation_id,
            among(participant_table.c.user_id, text_list("ids")),
        ),
        {"ids": list(user_ids)},
    )


def friendships_of(session: Session, user_id: str) -> dict[str, FriendshipStatus]:
    """The friendships of the user, whatever their status: other user -> status."""
    rows = _FRIENDSHIPS.rows(session, {"user_id": user_id})
    return {other: FriendshipStatus(status) for other, status in rows}


def statuses_of_pairs(
    session: Session, pairs: Collection[tuple[str, str]]
) -> dict[tuple[str, str], FriendshipStatus]:
    """The status of each of `pairs` (in canonical order) that is stored."""
    rows = session.execute(_STATUSES, {"pairs": list(pairs)})
    return {(a, b): FriendshipStatus(status) for a, b, status in rows}


def remove_friendships(session: Session, pairs: Iterable[tuple[str, str]]) -> None:
    """Delete the friendships of `pairs` (in canonical order), whatever their status."""
    rows = [{"a": a, "b": b} for a, b in sorted(pairs)]
    statement = delete(friendship_table).where(
        friendship_table.c.user_a == bindparam("a"),
        friendship_table.c.user_b == bindparam("b"),
    )
    execute_many(session, statement, rows)


def remove_conversations(session: Session, conversation_ids: Iterable[str]) -> None:
    """Delete the conversations with their participants."""
    statement = delete(conversation_table).where(
        conversation_table.c.id == bindparam("key")
    )
    execute_many(session, statement, [{"key": key} for key in sorted(conversation_ids)])


def remove_users(session: Session, user_ids: Iterable[str]) -> None:
    """Delete the users. The database also deletes their friendships, and takes them out
    of their conversations."""
    statement = delete(user_table).where(user_table.c.id == bindparam("key"))
    execute_many(session, statement, [{"key": key} for key in sorted(user_ids)])


_pair = each_pair(pair_list("pairs")).table_valued("value", name="pair")
_ends = [_pair.c.value.op("->>", return_type=String())(end) for end in (0, 1)]
_STATUSES = select(friendship_table).join_from(
    _pair,
    friendship_table,
    and_(friendship_table.c.user_a == _ends[0], friendship_table.c.user_b == _ends[1]),
)
_me: ColumnElement[str] = bindparam("user_id", type_=String())
_FRIENDSHIPS = Statement(
    union_all(
        *(
            select(other, friendship_table.c.status).where(one == _me)
            for one, other in (
                (friendship_table.c.user_a, friendship_table.c.user_b),
                (friendship_table.c.user_b, friendship_table.c.user_a),
            )
        )
    )
)
