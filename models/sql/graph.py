"""Every write to the host application's graph, and the relations that it changed.

The host names a state, and each function brings the database to that state. So a
repeated call changes nothing. The function returns a `GraphChange`: the pairs of users
that became relevant to each other, and the pairs that ceased to be. If these are too
many, it only has the users, who then get fresh snapshots. The caller commits.
Then `app.announce` sends the change to the users who are online. If there is an error,
the caller must roll back.

    UnknownUser          a friendship or conversation names users that do not exist
    UnknownConversation  the conversation that gets a participant does not exist
    TooManyParticipants  a conversation is larger than MAX_PARTICIPANTS
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import combinations, product, starmap

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.sql.audience import relevant_pairs, relevant_users_in_parts
from models.sql.conversation import MAX_PARTICIPANTS, Conversation
from models.sql.friendship import FriendshipStatus, canonical
from models.sql.graph_rows import (
    add_participants,
    friendships_of,
    lock_conversations,
    lock_users,
    put_conversation_rows,
    put_friendship_rows,
    remove_conversations,
    remove_friendships,
    remove_participants,
    remove_users,
    statuses_of_pairs,
    stored_conversations,
    take_write_lock,
)
from models.sql.user import ensure_users, put_users, unknown_users, user_table
from models.sql.visibility import views_on
from models.visibility import View

MAX_PAIRS = 1_000_000
"""The most pairs that one call looks up. Each pair costs a lookup before and after the
write, and memory. If a conversation may change more, its participants get fresh
snapshots."""
ACCEPTED = FriendshipStatus.ACCEPTED
BLOCKED = FriendshipStatus.BLOCKED

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
    refreshed: frozenset[str] = frozenset()
    """Users whose relations may have changed in pairs that are not named here. They
    need a fresh snapshot."""

    def __bool__(self) -> bool:
        return bool(
            self.gained or self.lost or self.refreshed or self.before != self.after
        )

    def combined_with(self, later: GraphChange) -> GraphChange:
        """This change and a `later` one as one change. A pair that was gained and then
        lost, or lost and then gained, is left out."""
        return GraphChange(
            (self.gained - later.lost) | (later.gained - self.lost),
            (self.lost - later.gained) | (later.lost - self.gained),
            self.before + later.before,
            self.after + later.after,
            self.refreshed | later.refreshed,
        )


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation that the host names, with all its participants."""

    id: str
    title: str = ""
    participants: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Deletions:
    """What one call deletes. What does not exist is ignored."""

    users: AbstractSet[str] = frozenset()
    friendships: AbstractSet[Pair] = frozenset()
    """In either order, whatever their status."""
    conversations: AbstractSet[str] = frozenset()


class UnknownUser(ValueError):
    """The call names users that do not exist."""

    def __init__(self, user_ids: Iterable[str]) -> None:
        self.user_ids = tuple(sorted(user_ids))
        named = ", ".join(self.user_ids[:10])
        more = len(self.user_ids) - 10
        super().__init__(f"unknown user: {named}" + (f" and {more} more" * (more > 0)))


class TooManyParticipants(ValueError):
    """A conversation has more than MAX_PARTICIPANTS participants."""


class UnknownConversation(ValueError):
    """The call names a conversation that does not exist."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {conversation_id}")


def put_user(session: Session, user_id: str, display_name: str) -> GraphChange:
    """Create or rename the user. No relation changes."""
    put_users(session, {user_id: display_name})
    return GraphChange()


def delete_user(session: Session, user_id: str) -> GraphChange:
    """Delete the user, who also leaves all friendships and conversations."""
    return load_bulk(session, deletions=Deletions(users={user_id}))


def put_friends(
    session: Session, user_id: str, friends: Collection[str]
) -> GraphChange:
    """Make `friends` the accepted friends of the user, whoever made the friendships.
    Users who do not exist are created, with the id as display name. A pending pair is
    accepted, and a blocked pair stays blocked. If this is the state already, nothing is
    locked or written.

    If another call adds a friendship at the same time, that friendship stays.

    Raises:
        ValueError: the user is in `friends`.
    """
    found = friendships_of(session, user_id)
    old = {other for other, status in found.items() if status is ACCEPTED}
    wanted = {other for other in friends if found.get(other) is not BLOCKED}
    if old == wanted and not unknown_users(session, [user_id]):
        return GraphChange()
    named = {user_id, *friends}
    ensure_users(session, named - lock_users(session, named | old))
    found = friendships_of(session, user_id)  # with the locks, nobody can change it
    added = [
        (user_id, other, ACCEPTED)
        for other in friends
        if found.get(other) not in (ACCEPTED, BLOCKED)
    ]
    removed = {
        (user_id, other)
        for other in old.difference(friends)
        if found.get(other) is ACCEPTED
    }
    return load_bulk(
        session, friendships=added, deletions=Deletions(friendships=removed)
    )


def sign_in(
    session: Session,
    user_id: str,
    display_name: str | None = None,
    friends: Collection[str] | None = None,
) -> GraphChange:
    """Create the user if it does not exist, set the display name if one is given, and
    replace the friends (`put_friends`) if some are given. A repeated call only reads.

    Raises:
        ValueError: the user is in `friends`.
    """
    change = GraphChange()
    if friends is None:
        ensure_users(session, [user_id])
    else:
        change = put_friends(session, user_id, friends)
    name = session.scalar(
        select(user_table.c.display_name).where(user_table.c.id == user_id)
    )
    if display_name not in (None, name):
        put_users(session, {user_id: display_name})
    return change


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
    return load_bulk(session, deletions=Deletions(friendships={(one, other)}))


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
    return load_bulk(session, deletions=Deletions(conversations={conversation_id}))


def add_participant(
    session: Session, conversation_id: str, user_id: str
) -> GraphChange:
    """Add the user to the conversation.

    Raises:
        UnknownConversation, UnknownUser: one of the two does not exist.
        TooManyParticipants: the conversation is full.
    """
    members = lock_conversations(session, [conversation_id])[conversation_id]
    if session.get(Conversation, conversation_id) is None:
        raise UnknownConversation(conversation_id)
    # A writer of any relation between two users locks both. So one lock is enough here.
    if not lock_users(session, [user_id]):
        raise UnknownUser([user_id])
    if user_id in members:
        return GraphChange()
    _check_size({conversation_id: members | {user_id}})
    pairs = {canonical(user_id, other) for other in members}
    before = relevant_pairs(session, pairs)
    add_participants(session, {conversation_id: [user_id]})
    return _change(before, relevant_pairs(session, pairs))


def remove_participant(
    session: Session, conversation_id: str, user_id: str
) -> GraphChange:
    """Take the user out of the conversation. If the user is not in it, or one of the
    two does not exist, nothing changes."""
    members = lock_conversations(session, [conversation_id])[conversation_id]
    if user_id not in members:
        return GraphChange()
    lock_users(session, [user_id])
    pairs = {canonical(user_id, other) for other in members - {user_id}}
    before = relevant_pairs(session, pairs)
    remove_participants(session, conversation_id, [user_id])
    return _change(before, relevant_pairs(session, pairs))


def accept_friendships(session: Session, pairs: Collection[Pair]) -> GraphChange:
    """Make `pairs` (in canonical order) accepted friendships. Blocked pairs, and pairs
    with a user who does not exist, are left alone."""
    known = lock_users(session, {user_id for pair in pairs for user_id in pair})
    statuses = statuses_of_pairs(session, pairs)
    new = {
        pair
        for pair in pairs
        if known.issuperset(pair) and statuses.get(pair) not in (ACCEPTED, BLOCKED)
    }
    return _changed_friendships(
        session, new, lambda: put_friendship_rows(session, dict.fromkeys(new, ACCEPTED))
    )


def end_friendships(session: Session, pairs: Collection[Pair]) -> GraphChange:
    """Delete those of `pairs` (in canonical order) that are accepted."""
    lock_users(session, {user_id for pair in pairs for user_id in pair})
    statuses = statuses_of_pairs(session, pairs)
    gone = {pair for pair in pairs if statuses.get(pair) is ACCEPTED}
    return _changed_friendships(
        session, gone, lambda: remove_friendships(session, gone)
    )


def _changed_friendships(
    session: Session, pairs: Collection[Pair], write: Callable[[], None]
) -> GraphChange:
    """What `write` changes, which writes the friendships of `pairs`. Their users are
    locked."""
    seen_before = views_on(session, pairs)
    before = relevant_pairs(session, pairs)
    write()
    change = _change(before, relevant_pairs(session, pairs))
    return replace(change, before=seen_before, after=views_on(session, pairs))


def change_participants(
    session: Session, changes: Mapping[str, tuple[Collection[str], Collection[str]]]
) -> GraphChange:
    """Add users to conversations and take others out: conversation id -> (added,
    removed). Conversations and users that do not exist are left out.

    Raises:
        TooManyParticipants: a conversation would be too large.
    """
    old = lock_conversations(session, changes)
    stored = stored_conversations(session, changes)
    named = {user for moved in changes.values() for users in moved for user in users}
    known = lock_users(session, named)
    scope = _Scope(set())
    added, removed, new = {}, {}, {}
    for key in sorted(stored):
        added[key] = (known & set(changes[key][0])) - old[key]
        removed[key] = old[key].intersection(changes[key][1]) - added[key]
        new[key] = (old[key] | added[key]) - removed[key]
        scope.add_replaced(old[key], new[key])
    _check_size(new)
    before = relevant_pairs(session, scope.pairs)
    for key, users in removed.items():
        remove_participants(session, key, users)
    add_participants(session, added)
    change = _change(before, relevant_pairs(session, scope.pairs))
    return replace(change, refreshed=frozenset(scope.refreshed))


def load_bulk(
    session: Session,
    users: Mapping[str, str] | None = None,
    friendships: Iterable[tuple[str, str, FriendshipStatus]] = (),
    conversations: Iterable[ConversationRecord] = (),
    deletions: Deletions | None = None,
) -> GraphChange:
    """Create or replace any number of users (id -> display name), friendships and
    conversations, and delete others. If a user, pair or conversation has several
    entries, the last entry counts. Nothing may be both created and deleted.

    Friendships and conversations may name users that the same call creates. Ten
    thousand rows take about a second.

    Raises:
        UnknownUser, TooManyParticipants: see the top of this module.
        ValueError: a friendship is with oneself.
    """
    names = dict(users or {})
    statuses = {canonical(one, other): status for one, other, status in friendships}
    records = {record.id: record for record in conversations}
    new = {key: record.participants for key, record in records.items()}
    _check_size(new)
    gone = deletions or Deletions()
    gone_users = gone.users
    gone_pairs = {canonical(one, other) for one, other in gone.friendships}
    new |= dict.fromkeys(gone.conversations, frozenset())

    # All writers take locks in the same order, so that they cannot deadlock: first
    # conversations, then users, and each of these in the order of the ids.
    take_write_lock(session)
    put_conversation_rows(
        session, {key: record.title for key, record in records.items()}
    )
    old = lock_conversations(session, new)
    named = {user_id for pair in statuses for user_id in pair}.union(*new.values())
    others = {user_id for pair in gone_pairs for user_id in pair}
    known = lock_users(session, named.union(names, others, gone_users, *old.values()))
    if unknown := named - (known - gone_users) - names.keys():
        raise UnknownUser(unknown)
    put_users(session, names)

    scope = _Scope({*statuses, *gone_pairs})
    for key, members in new.items():
        scope.add_replaced(old[key], members)
    # What the users who are deleted saw ends, whatever else the call changes.
    scope.pairs = {pair for pair in scope.pairs if gone_users.isdisjoint(pair)}
    before = relevant_pairs(session, scope.pairs) | scope.add_deleted(
        session, gone_users
    )
    befriended = {
        pair for pair in (*statuses, *gone_pairs) if gone_users.isdisjoint(pair)
    }
    seen_before = views_on(session, befriended)
    remove_friendships(session, gone_pairs)
    put_friendship_rows(session, statuses)
    for key, members in new.items():
        remove_participants(session, key, old[key] - members)
    add_participants(session, {key: new[key] - old[key] for key in new})
    remove_conversations(session, gone.conversations)
    remove_users(session, gone_users)
    return replace(
        _change(before, relevant_pairs(session, scope.pairs)),
        before=seen_before,
        after=views_on(session, befriended),
        refreshed=frozenset(scope.refreshed - gone_users),
    )


@dataclass(slots=True)
class _Scope:
    """What one call may change: pairs of users, or where these are too many, users who
    get a fresh snapshot."""

    pairs: set[Pair]
    refreshed: set[str] = field(default_factory=set)

    def add_replaced(self, old: Collection[str], new: Collection[str]) -> None:
        """The participants `old` of a conversation are replaced by `new`.

        Each pair that this concerns contains a user who is added or removed. So adding
        one user to a thousand participants makes a thousand pairs.
        """
        stay = set(old) & set(new)
        for moved in (set(old) - stay, set(new) - stay):
            count = len(moved) * len(stay) + len(moved) * (len(moved) - 1) // 2
            if len(self.pairs) + count > MAX_PAIRS:
                self.refreshed |= moved | stay
                continue
            self.pairs.update(starmap(canonical, product(moved, stay)))
            self.pairs.update(combinations(sorted(moved), 2))

    def add_deleted(self, session: Session, user_ids: AbstractSet[str]) -> set[Pair]:
        """The users are deleted. Returns the pairs in which they are relevant now."""
        found: set[Pair] = set()
        for user_id, others in relevant_users_in_parts(session, user_ids):
            if len(self.pairs) + len(found) + len(others) > MAX_PAIRS:
                self.refreshed |= others
            else:
                found.update(canonical(user_id, other) for other in others)
        return found


def _change(before: set[Pair], after: set[Pair]) -> GraphChange:
    return GraphChange(frozenset(after - before), frozenset(before - after))


def _check_size(participants: Mapping[str, Collection[str]]) -> None:
    for key, user_ids in participants.items():
        if len(user_ids) > MAX_PARTICIPANTS:
            message = (
                f"conversation {key} has {len(user_ids)} participants; at most "
                f"{MAX_PARTICIPANTS} are allowed, because all of them see each other"
            )
            raise TooManyParticipants(message)
