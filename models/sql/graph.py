"""Every write to the host application's graph, and the relations that it changed.

The host names a state, and each function brings the database to that state. So a
repeated call changes nothing. The function returns a `GraphChange`: the pairs of users
that became relevant to each other, and the pairs that ceased to be. The caller commits.
Then `app.announce` sends the change to the users who are online. If there is an error,
the caller must roll back.

    UnknownUser          a friendship or conversation names users that do not exist
    TooManyParticipants  a conversation is larger than MAX_PARTICIPANTS
    TooManyPairs         the conversations of one call change more than MAX_PAIRS
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, islice

from sqlalchemy import delete
from sqlalchemy.orm import Session

import models.sql.user
from models.sql.audience import relevant_pairs, relevant_users
from models.sql.conversation import MAX_PARTICIPANTS, conversation_table
from models.sql.friendship import FriendshipStatus, canonical, friendship_table
from models.sql.graph_rows import (
    add_participants,
    lock_conversations,
    lock_users,
    put_conversation_rows,
    put_friendship_rows,
    remove_participants,
    take_write_lock,
)
from models.sql.user import put_users
from models.sql.visibility import views_on
from models.visibility import View

# Each pair costs a lookup before and after the write, and memory for the result.
MAX_PAIRS = 1_000_000
PAIRS_PER_STATEMENT = 20_000
# With more pairs per user than this, it is cheaper to read whole audiences.
MAX_LOOKUPS_PER_USER = 8

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class GraphChange:
    """The pairs (smaller id first) whose relevance a write changed."""

    gained: frozenset[Pair] = frozenset()
    """Pairs that see each other now and did not before."""
    lost: frozenset[Pair] = frozenset()
    """Pairs that saw each other before and do not now."""
    before: tuple[View, ...] = ()
    after: tuple[View, ...] = ()
    """`before` and `after` are about pairs whose friendship changed: how each of the
    two saw the other before the write, and after it. Views of users without settings
    are left out."""

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost or self.before != self.after)

    def combined_with(self, later: GraphChange) -> GraphChange:
        """This change and a `later` one as one change. A pair that was gained and then
        lost, or lost and then gained, is left out."""
        return GraphChange(
            (self.gained - later.lost) | (later.gained - self.lost),
            (self.lost - later.gained) | (later.lost - self.gained),
            self.before + later.before,
            self.after + later.after,
        )


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation that the host names, with all its participants."""

    id: str
    title: str = ""
    participants: frozenset[str] = field(default=frozenset())


class UnknownUser(ValueError):
    """The call names users that do not exist."""

    def __init__(self, user_ids: Iterable[str]) -> None:
        self.user_ids = tuple(sorted(user_ids))
        named = ", ".join(self.user_ids[:10])
        more = len(self.user_ids) - 10
        super().__init__(f"unknown user: {named}" + (f" and {more} more" * (more > 0)))


class TooManyParticipants(ValueError):
    """A conversation has more than MAX_PARTICIPANTS participants."""


class TooManyPairs(ValueError):
    """The conversations of one call change more than MAX_PAIRS pairs."""


def put_user(session: Session, user_id: str, display_name: str) -> GraphChange:
    """Create or rename the user. No relation changes."""
    put_users(session, {user_id: display_name})
    return GraphChange()


def delete_user(session: Session, user_id: str) -> GraphChange:
    """Delete the user, who also leaves all friendships and conversations."""
    lock_users(session, {user_id})
    others = relevant_users(session, [user_id])[user_id]
    models.sql.user.delete_user(session, user_id)
    return GraphChange(lost=frozenset(canonical(user_id, other) for other in others))


def put_friendship(
    session: Session, one: str, other: str, status: FriendshipStatus
) -> GraphChange:
    """Create the friendship or set its status. The order of the two does not matter.

    Raises:
        UnknownUser: one of the two does not exist.
        ValueError: both are the same user.
    """
    return load_bulk(session, friendships=[(one, other, status)])


def delete_friendship(session: Session, one: str, other: str) -> GraphChange:
    """Delete the friendship, whatever its status is. A missing one is no error.

    If it was blocked, and the two users share a conversation, they see each other
    again.
    """
    a, b = canonical(one, other)
    lock_users(session, {a, b})
    before = _relevant(session, {(a, b)})
    seen_before = views_on(session, [(a, b)])
    session.execute(
        delete(friendship_table).where(
            friendship_table.c.user_a == a, friendship_table.c.user_b == b
        )
    )
    change = _change(before, _relevant(session, {(a, b)}))
    return replace(change, before=seen_before, after=views_on(session, [(a, b)]))


def put_conversation(
    session: Session, conversation_id: str, title: str, members: Iterable[str]
) -> GraphChange:
    """Create or replace the conversation. Afterwards its participants are exactly
    `members`.

    Raises:
        UnknownUser: a member does not exist.
        TooManyParticipants: more than `MAX_PARTICIPANTS` members.
    """
    record = ConversationRecord(conversation_id, title, frozenset(members))
    return load_bulk(session, conversations=[record])


def delete_conversation(session: Session, conversation_id: str) -> GraphChange:
    """Delete the conversation. An unknown one is no error."""
    members = lock_conversations(session, [conversation_id])[conversation_id]
    lock_users(session, members)
    pairs = set(combinations(sorted(members), 2))
    before = _relevant(session, pairs)
    session.execute(
        delete(conversation_table).where(conversation_table.c.id == conversation_id)
    )
    return _change(before, _relevant(session, pairs))


def load_bulk(
    session: Session,
    users: Mapping[str, str] | None = None,
    friendships: Iterable[tuple[str, str, FriendshipStatus]] = (),
    conversations: Iterable[ConversationRecord] = (),
) -> GraphChange:
    """Create or replace any number of users (id -> display name), friendships and
    conversations. If a user, pair or conversation has several entries, the last entry
    counts.

    Friendships and conversations may name users that the same call creates. Ten
    thousand rows take about a second.

    Raises:
        UnknownUser, TooManyParticipants, TooManyPairs: see the top of this module.
        ValueError: a friendship is with oneself.
    """
    names = dict(users or {})
    statuses = {canonical(one, other): status for one, other, status in friendships}
    records = {record.id: record for record in conversations}
    new = {key: record.participants for key, record in records.items()}
    _check_size(new)

    # All writers take locks in the same order, so that they cannot deadlock: first
    # conversations, then users, and each of these in the order of the ids.
    take_write_lock(session)
    put_conversation_rows(
        session, {key: record.title for key, record in records.items()}
    )
    old = lock_conversations(session, records)
    named = {user_id for pair in statuses for user_id in pair}.union(*new.values())
    known = lock_users(session, named.union(names, *old.values()))
    if unknown := named - known - names.keys():
        raise UnknownUser(unknown)
    put_users(session, names)

    pairs = set(statuses)
    for key, members in new.items():
        pairs.update(_pairs_affected(old[key], members))
        if len(pairs) > MAX_PAIRS:
            message = (
                f"the call may change more than {MAX_PAIRS} pairs of users, most of "
                f"them through its conversations: split it into smaller calls"
            )
            raise TooManyPairs(message)
    before = _relevant(session, pairs)
    seen_before = views_on(session, statuses)
    put_friendship_rows(session, statuses)
    for key, members in new.items():
        remove_participants(session, key, old[key] - members)
    add_participants(session, {key: new[key] - old[key] for key in new})
    change = _change(before, _relevant(session, pairs))
    return replace(change, before=seen_before, after=views_on(session, statuses))


def _change(before: set[Pair], after: set[Pair]) -> GraphChange:
    return GraphChange(frozenset(after - before), frozenset(before - after))


def _relevant(session: Session, pairs: Collection[Pair]) -> set[Pair]:
    """Which of `pairs` are relevant now.

    If few users make many pairs, as in a conversation, this reads the audiences of the
    users, which costs less per pair. Otherwise it looks up each pair, with
    PAIRS_PER_STATEMENT pairs in a statement.
    """
    firsts = {one for one, _ in pairs}
    if len(pairs) > MAX_LOOKUPS_PER_USER * len(firsts):
        audience = relevant_users(session, firsts)
        return {(one, other) for one, other in pairs if other in audience[one]}
    found: set[Pair] = set()
    left = iter(pairs)
    while part := list(islice(left, PAIRS_PER_STATEMENT)):
        found |= relevant_pairs(session, part)
    return found


def _pairs_affected(
    old: Collection[str], new: Collection[str]
) -> Iterable[tuple[str, str]]:
    """The pairs whose relevance can change if the participants `old` of a conversation
    are replaced by `new`.

    Each such pair contains a user who is added or removed. So adding one user to a
    thousand participants makes a thousand pairs.
    """
    for moved in set(old) ^ set(new):
        together = new if moved in new else old
        for other in together:
            if other != moved:
                yield canonical(moved, other)


def _check_size(participants: Mapping[str, Collection[str]]) -> None:
    for key, user_ids in participants.items():
        if len(user_ids) > MAX_PARTICIPANTS:
            message = (
                f"conversation {key} has {len(user_ids)} participants; at most "
                f"{MAX_PARTICIPANTS} are allowed, because all of them see each other"
            )
            raise TooManyParticipants(message)
