"""Makes the graph what the files of a sync say: what has to change, and the steps.

`plan_sync` compares the files with what is stored. It changes nothing. `steps` has the
changes as many short transactions, so that others can write in between: on SQLite there
is only one writer at a time. Each step looks again at what it changes, because the host
may have changed it too. If a sync stops half-way, the next one does the rest.

Blocked pairs are left alone. A pending pair that is listed becomes accepted, and one
that is not listed stays pending.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.batches import batches
from models.sql.conversation import conversation_table, participant_table
from models.sql.csv_rows import BadRow
from models.sql.friendship import FriendshipStatus, friendship_table
from models.sql.graph import (
    Deletions,
    GraphChange,
    accept_friendships,
    change_participants,
    end_friendships,
    load_bulk,
)
from models.sql.graph_rows import put_conversation_rows
from models.sql.statements import Reader
from models.sql.sync_files import (
    CONVERSATIONS,
    FRIENDSHIPS,
    PARTICIPANTS,
    USERS,
    GraphFiles,
    Key,
    Listed,
    Pair,
)
from models.sql.user import put_users, user_table

ROWS_PER_STEP = 1_000
"""Rows of one transaction. It takes some 50 ms."""
USERS_DELETED_PER_STEP = 50
"""Each of them may have a large audience."""
PAIRS_PER_STEP = 10_000
"""A user who joins or leaves a conversation makes a pair with each participant. One
transaction changes at most this many pairs, or one user."""
ACCEPTED = FriendshipStatus.ACCEPTED
PENDING = FriendshipStatus.PENDING
BLOCKED = FriendshipStatus.BLOCKED


@dataclass(slots=True)
class Changes(Generic[Key]):
    """What has to change of one kind. Creates and updates have the new text of each key
    (the name or title; '' for relations)."""

    creates: dict[Key, str] = field(default_factory=dict)
    updates: dict[Key, str] = field(default_factory=dict)
    deletes: set[Key] = field(default_factory=set)
    stored: int = 0
    """How many are stored that a sync may delete."""
    held_back: int = 0
    """How many are not deleted, because the file has rows that cannot be read."""

    def __len__(self) -> int:
        return len(self.creates) + len(self.updates) + len(self.deletes)


@dataclass(slots=True)
class SyncPlan:
    """What has to change, by kind. A kind without a file is None."""

    users: Changes[str] | None
    friendships: Changes[Pair] | None
    conversations: Changes[str] | None
    participants: Changes[Pair] | None
    bad_rows: list[BadRow]
    """The rows that are left out, in the order of the files and lines."""
    blocked: int = 0
    """Listed friendships that are blocked."""
    members: dict[str, set[str]] = field(default_factory=dict)
    """The participants that are stored now, of conversations that are deleted or whose
    participants change."""

    @property
    def kinds(self) -> dict[str, Changes[str] | Changes[Pair]]:
        """The changes by the name of the kind."""
        named = {
            "users": self.users,
            "friendships": self.friendships,
            "conversations": self.conversations,
            "participants": self.participants,
        }
        return {name: changes for name, changes in named.items() if changes is not None}

    def __len__(self) -> int:
        return sum(map(len, self.kinds.values()))


@dataclass(slots=True)
class _Stored:
    users: dict[str, str]
    friendships: dict[Pair, FriendshipStatus]
    conversations: dict[str, str]
    members: dict[str, set[str]]


def plan_sync(reader: Reader, files: GraphFiles) -> SyncPlan:
    """Compare `files` with what is stored."""
    stored = _read(reader, files)
    bad_rows = list(files.bad_rows)
    users = conversations = None
    if files.users is not None:
        users = _of_names(files.users, stored.users, default_to_id=True)
    if files.conversations is not None:
        conversations = _of_names(files.conversations, stored.conversations)
    known_users = _left(stored.users, users)
    known_conversations = _left(stored.conversations, conversations)
    friendships, blocked = None, 0
    if files.friendships is not None:
        _drop_unknown(
            FRIENDSHIPS, files.friendships, bad_rows, (known_users, known_users)
        )
        friendships, blocked = _of_friendships(files.friendships, stored.friendships)
    participants = None
    if files.participants is not None:
        _drop_unknown(
            PARTICIPANTS,
            files.participants,
            bad_rows,
            (known_conversations, known_users),
        )
        participants = _of_participants(files, files.participants, stored.members)
    order = {name: place for place, name in enumerate(_ORDER)}
    bad_rows.sort(key=lambda row: (order[row.file], row.line))
    return SyncPlan(
        users,
        friendships,
        conversations,
        participants,
        bad_rows,
        blocked,
        stored.members,
    )


_ORDER = (USERS, FRIENDSHIPS, CONVERSATIONS, PARTICIPANTS)


def _read(reader: Reader, files: GraphFiles) -> _Stored:
    stored = _Stored({}, {}, {}, {})
    table = user_table.c
    stored.users = _pairs(reader, table.id, table.display_name)
    if files.friendships is not None:
        stored.friendships = {
            (a, b): FriendshipStatus(status)
            for a, b, status in reader.execute(select(friendship_table))
        }
    if files.conversations is not None or files.participants is not None:
        conversations = conversation_table.c
        stored.conversations = _pairs(reader, conversations.id, conversations.title)
        stored.members = {key: set() for key in stored.conversations}
        for key, user_id in reader.execute(select(participant_table)):
            stored.members.setdefault(key, set()).add(user_id)
    return stored


def _pairs(reader: Reader, *columns: object) -> dict[str, str]:
    rows = reader.execute(select(*columns))  # type: ignore[call-overload]
    return {row[0]: row[1] for row in rows}


def _of_names(
    listed: Listed[str], stored: Mapping[str, str], *, default_to_id: bool = False
) -> Changes[str]:
    changes: Changes[str] = Changes(stored=len(stored))
    for key, (name, _) in listed.rows.items():
        if key not in stored:
            changes.creates[key] = name or (key if default_to_id else "")
        elif name and name != stored[key]:
            changes.updates[key] = name
    _may_delete(changes, listed, stored.keys() - listed.rows.keys())
    return changes


def _may_delete(
    changes: Changes[Key], listed: Listed[Key], keys: Collection[Key]
) -> None:
    """Delete `keys`, which are stored and not listed, unless a wrong row forbids it."""
    deletes = set(keys) - listed.left_alone
    if listed.may_delete:
        changes.deletes = deletes
    else:
        changes.held_back = len(deletes)


def _left(stored: Mapping[str, str], changes: Changes[str] | None) -> set[str]:
    """What is stored after the changes."""
    known = set(stored)
    if changes is not None:
        known |= changes.creates.keys()
        known -= changes.deletes
    return known


def _drop_unknown(
    file: str,
    listed: Listed[Pair],
    bad_rows: list[BadRow],
    known: tuple[set[str], set[str]],
) -> None:
    """Leave out relations of users and conversations that do not exist."""
    nouns = ("user" if file == FRIENDSHIPS else "conversation", "user")
    unknown = {
        pair: ", ".join(
            f"{noun} {one}"
            for noun, one, those in zip(nouns, pair, known, strict=True)
            if one not in those
        )
        for pair in listed.rows
        if pair[0] not in known[0] or pair[1] not in known[1]
    }
    for pair, named in unknown.items():
        _, line = listed.rows.pop(pair)
        bad_rows.append(BadRow(file, line, f"unknown {named}"))


def _of_friendships(
    listed: Listed[Pair], stored: Mapping[Pair, FriendshipStatus]
) -> tuple[Changes[Pair], int]:
    accepted = {pair for pair, status in stored.items() if status is ACCEPTED}
    changes: Changes[Pair] = Changes(stored=len(accepted))
    blocked = 0
    for pair in listed.rows:
        status = stored.get(pair)
        if status is None:
            changes.creates[pair] = ""
        elif status is PENDING:
            changes.updates[pair] = ""
        elif status is BLOCKED:
            blocked += 1
    _may_delete(changes, listed, accepted - listed.rows.keys())
    return changes, blocked


def _of_participants(
    files: GraphFiles, listed: Listed[Pair], members: Mapping[str, set[str]]
) -> Changes[Pair]:
    stored = {(key, user) for key, users in members.items() for user in users}
    changes: Changes[Pair] = Changes(stored=len(stored))
    changes.creates = {
        pair: ""
        for pair in listed.rows
        if pair not in stored and pair[0] not in files.too_large
    }
    unlisted = stored - listed.rows.keys()
    _may_delete(
        changes, listed, {pair for pair in unlisted if pair[0] not in files.too_large}
    )
    return changes


# Steps


class Step(NamedTuple):
    """A part of a sync: one short transaction."""

    rows: int
    """How many rows of the files it is about."""
    write: Callable[[Session], GraphChange]
    """Writes it. The caller commits and announces the change."""
    disconnects: frozenset[str] = frozenset()
    """Users whose sockets must be closed."""


def steps(plan: SyncPlan) -> Iterator[Step]:
    """The steps that make the graph what `plan` says, in an order in which each of them
    finds what it needs."""
    if plan.users is not None:
        names = plan.users.creates | plan.users.updates
        for part in batches(sorted(names.items()), ROWS_PER_STEP):
            yield Step(len(part), partial(_put_users, dict(part)))
        for ids in batches(sorted(plan.users.deletes), USERS_DELETED_PER_STEP):
            gone = frozenset(ids)
            yield Step(len(ids), partial(_delete, Deletions(users=gone)), gone)
    yield from _conversation_steps(plan)
    if plan.friendships is not None:
        for pairs in batches(sorted(plan.friendships.deletes), ROWS_PER_STEP):
            yield Step(len(pairs), partial(end_friendships, pairs=pairs))
        wanted = plan.friendships.creates.keys() | plan.friendships.updates.keys()
        for pairs in batches(sorted(wanted), ROWS_PER_STEP):
            yield Step(len(pairs), partial(accept_friendships, pairs=pairs))


def _conversation_steps(plan: SyncPlan) -> Iterator[Step]:
    if plan.conversations is not None:
        titles = plan.conversations.creates | plan.conversations.updates
        for part in batches(sorted(titles.items()), ROWS_PER_STEP):
            yield Step(len(part), partial(_put_conversations, dict(part)))
    yield from _participant_steps(plan)
    if plan.conversations is not None:
        for ids in batches(sorted(plan.conversations.deletes), ROWS_PER_STEP):
            gone = Deletions(conversations=frozenset(ids))
            yield Step(len(ids), partial(_delete, gone))


class _Move(NamedTuple):
    """A user joins a conversation, or leaves it."""

    conversation: str
    user: str
    joins: bool
    pairs: int
    """How many others are in the conversation."""
    is_listed: bool
    """Whether it is a change of the plan. Otherwise the conversation is deleted."""


def _participant_steps(plan: SyncPlan) -> Iterator[Step]:
    moves: list[_Move] = []
    pairs = 0
    for move in _moves(plan):
        if moves and (
            len(moves) >= ROWS_PER_STEP or pairs + move.pairs > PAIRS_PER_STEP
        ):
            yield _moving(moves)
            moves, pairs = [], 0
        moves.append(move)
        pairs += move.pairs
    if moves:
        yield _moving(moves)


def _moves(plan: SyncPlan) -> Iterator[_Move]:
    """All moves, one conversation after the other. A conversation that is deleted is
    emptied first, because its end may change very many pairs."""
    listed = Changes[Pair]() if plan.participants is None else plan.participants
    deleted = set() if plan.conversations is None else plan.conversations.deletes
    joining, leaving = (
        _by_conversation(listed.creates),
        _by_conversation(listed.deletes),
    )
    for key in sorted(joining.keys() | leaving.keys() | deleted):
        size = len(plan.members.get(key, ()))
        gone = leaving.get(key, set())
        if key in deleted:
            gone = gone | plan.members.get(key, set())
        for user in sorted(gone):
            size -= 1
            is_listed = (key, user) in listed.deletes
            yield _Move(key, user, joins=False, pairs=size, is_listed=is_listed)
        for user in sorted(joining.get(key, ())):
            yield _Move(key, user, joins=True, pairs=size, is_listed=True)
            size += 1


def _by_conversation(pairs: Iterable[Pair]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, user in pairs:
        found.setdefault(key, set()).add(user)
    return found


def _moving(moves: list[_Move]) -> Step:
    changes: dict[str, tuple[set[str], set[str]]] = {}
    for move in moves:
        joins, leaves = changes.setdefault(move.conversation, (set(), set()))
        (joins if move.joins else leaves).add(move.user)
    rows = sum(move.is_listed for move in moves)
    return Step(rows, partial(change_participants, changes=changes))


def _put_users(names: dict[str, str], session: Session) -> GraphChange:
    put_users(session, names)
    return GraphChange()


def _put_conversations(titles: dict[str, str], session: Session) -> GraphChange:
    put_conversation_rows(session, titles)
    return GraphChange()


def _delete(gone: Deletions, session: Session) -> GraphChange:
    return load_bulk(session, deletions=gone)
