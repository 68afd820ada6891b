"""Writes to the graph: idempotent, all or nothing, and honest about what changed."""

from __future__ import annotations

import threading
from itertools import combinations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.sql import audience, graph
from models.sql.conversation import (
    MAX_PARTICIPANTS,
    Conversation,
    conversation_table,
    participant_table,
)
from models.sql.db import session_factory
from models.sql.friendship import Friendship, FriendshipStatus, friendship_table
from models.sql.graph import ConversationRecord, Deletions, GraphChange
from models.sql.user import User, ensure_users, user_table
from tests.databases import statements

pytestmark = pytest.mark.integration

ACCEPTED = FriendshipStatus.ACCEPTED
PENDING = FriendshipStatus.PENDING
BLOCKED = FriendshipStatus.BLOCKED
NOTHING = GraphChange()


def gained(*pairs: tuple[str, str]) -> GraphChange:
    return GraphChange(gained=frozenset(pairs))


def lost(*pairs: tuple[str, str]) -> GraphChange:
    return GraphChange(lost=frozenset(pairs))


def count(session: Session, table) -> int:
    return session.scalar(select(func.count()).select_from(table))


@pytest.fixture
def people(session: Session) -> None:
    graph.load_bulk(session, {name: name for name in ("ann", "bob", "cid", "dan")})
    session.commit()


def test_put_user_creates_then_renames(session):
    assert graph.put_user(session, "ann", "Ann") == NOTHING
    assert graph.put_user(session, "ann", "Anna") == NOTHING
    session.commit()

    user = session.get_one(User, "ann")
    assert user.display_name == "Anna"
    assert user.created_at is not None
    assert count(session, user_table) == 1


def test_ensure_user_inserts_once_and_renames_nobody(session, engine):
    ensure_users(session, ["new"])
    graph.put_user(session, "ann", "Ann")
    session.commit()
    ensure_users(session, ["new"])
    with statements(engine) as sent:
        ensure_users(session, ["ann"])

    assert len(sent) == 1, "a known user costs one read"
    assert sent[0].startswith("SELECT")
    assert session.get_one(User, "ann").display_name == "Ann"
    assert session.get_one(User, "new").display_name == "new"


def test_two_processes_meet_the_same_new_user(engine):
    sessions = session_factory(engine)
    start = threading.Barrier(4)
    errors = []

    def connect() -> None:
        with sessions() as session:
            start.wait()
            try:
                for number in range(20):
                    ensure_users(session, [f"user-{number}"])
                    session.commit()
            except Exception as error:  # noqa: BLE001 - any is a failure of the test
                errors.append(error)

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with sessions() as session:
        assert count(session, user_table) == 20


@pytest.mark.usefixtures("people")
def test_a_friendship_from_pending_to_blocked(session):
    steps = [
        (("ann", "bob", PENDING), NOTHING),
        (("bob", "ann", ACCEPTED), gained(("ann", "bob"))),
        (("ann", "bob", ACCEPTED), NOTHING),
        (("ann", "bob", BLOCKED), lost(("ann", "bob"))),
        (("ann", "bob", BLOCKED), NOTHING),
    ]
    for arguments, change in steps:
        assert graph.put_friendship(session, *arguments) == change
        session.commit()

    assert count(session, friendship_table) == 1
    assert session.get_one(Friendship, ("ann", "bob")).status is BLOCKED


@pytest.mark.usefixtures("people")
def test_deleting_a_friendship_is_idempotent_and_takes_either_order(session):
    graph.put_friendship(session, "ann", "bob", ACCEPTED)

    assert graph.delete_friendship(session, "bob", "ann") == lost(("ann", "bob"))
    assert graph.delete_friendship(session, "bob", "ann") == NOTHING
    assert count(session, friendship_table) == 0


@pytest.mark.usefixtures("people")
def test_ending_a_friendship_of_conversation_partners_changes_nothing(session):
    graph.put_conversation(session, "c", "", ["ann", "bob"])

    assert graph.put_friendship(session, "ann", "bob", ACCEPTED) == NOTHING
    assert graph.delete_friendship(session, "ann", "bob") == NOTHING


@pytest.mark.usefixtures("people")
def test_blocking_ends_what_a_conversation_gave_and_unblocking_returns_it(session):
    graph.put_conversation(session, "c", "", ["ann", "bob"])

    assert graph.put_friendship(session, "bob", "ann", BLOCKED) == lost(("ann", "bob"))
    assert graph.delete_friendship(session, "ann", "bob") == gained(("ann", "bob"))


@pytest.mark.usefixtures("people")
def test_a_friendship_with_oneself_is_refused(session):
    with pytest.raises(ValueError, match="ann cannot be"):
        graph.put_friendship(session, "ann", "ann", ACCEPTED)


@pytest.mark.usefixtures("people")
def test_putting_a_conversation_replaces_title_and_participants(session):
    first = graph.put_conversation(session, "c", "One", ["ann", "bob", "cid"])
    again = graph.put_conversation(session, "c", "One", ["cid", "bob", "ann"])
    other = graph.put_conversation(session, "c", "Two", ["ann", "dan"])
    session.commit()

    assert first == gained(("ann", "bob"), ("ann", "cid"), ("bob", "cid"))
    assert again == NOTHING
    assert other == GraphChange(gained(("ann", "dan")).gained, first.gained)
    assert session.get_one(Conversation, "c").title == "Two"
    assert audience.participants_of(session, "c") == {"ann", "dan"}


@pytest.mark.usefixtures("people")
def test_leaving_one_of_two_shared_conversations_loses_nobody(session):
    graph.put_conversation(session, "c1", "", ["ann", "bob"])
    assert graph.put_conversation(session, "c2", "", ["bob", "ann"]) == NOTHING

    assert graph.put_conversation(session, "c1", "", []) == NOTHING
    assert graph.delete_conversation(session, "c2") == lost(("ann", "bob"))
    assert graph.delete_conversation(session, "c2") == NOTHING


@pytest.mark.usefixtures("people")
def test_deleting_a_user_takes_all_relations_along(session):
    graph.put_friendship(session, "dan", "ann", ACCEPTED)
    graph.put_friendship(session, "bob", "cid", ACCEPTED)
    graph.put_conversation(session, "c", "", ["ann", "bob"])

    assert graph.delete_user(session, "ann") == lost(("ann", "bob"), ("ann", "dan"))
    assert graph.delete_user(session, "ann") == NOTHING
    session.commit()
    assert session.execute(select(participant_table)).all() == [("c", "bob")]
    assert session.scalars(select(friendship_table.c.user_a)).all() == ["bob"]


@pytest.fixture
def relations(session: Session) -> None:
    """Ann has one friend, one request, one blocked user, and a conversation with the
    last two."""
    graph.load_bulk(
        session,
        {name: name for name in ("ann", "bob", "cid", "dan")},
        [("ann", "bob", ACCEPTED), ("cid", "ann", PENDING), ("ann", "dan", BLOCKED)],
        [ConversationRecord("c", "", frozenset({"ann", "cid", "dan"}))],
    )
    session.commit()


def friendships(session: Session) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in session.execute(select(friendship_table))}


@pytest.mark.usefixtures("relations")
def test_friends_are_replaced_whoever_made_the_friendships(session):
    change = graph.put_friends(session, "ann", {"cid", "dan", "eve"})
    # Cid was relevant already, by the conversation. Dan stays blocked.
    assert change.gained == {("ann", "eve")}
    assert change.lost == {("ann", "bob")}
    assert friendships(session) == {
        ("ann", "cid", ACCEPTED),
        ("ann", "dan", BLOCKED),
        ("ann", "eve", ACCEPTED),
    }
    assert session.get_one(User, "eve").display_name == "eve"
    assert session.get_one(User, "cid").display_name == "cid"

    assert graph.put_friends(session, "ann", []) == lost(("ann", "eve"))
    assert friendships(session) == {("ann", "dan", BLOCKED)}


@pytest.mark.usefixtures("relations")
def test_a_request_that_is_not_listed_stays_open(session):
    assert graph.put_friends(session, "ann", {"bob"}) == NOTHING
    assert ("ann", "cid", PENDING) in friendships(session)


@pytest.mark.usefixtures("relations")
def test_friends_that_are_the_same_already_are_only_read(session, engine):
    with statements(engine) as sent:
        for friends in ({"bob"}, {"bob", "dan"}):
            assert graph.put_friends(session, "ann", friends) == NOTHING
        assert graph.sign_in(session, "ann", "ann", {"bob"}) == NOTHING
        assert graph.sign_in(session, "ann") == NOTHING
    assert [one for one in sent if not one.startswith("SELECT")] == []
    assert not any("FOR NO KEY UPDATE" in one for one in sent)


def test_friends_of_a_new_user_create_the_user(session):
    assert graph.put_friends(session, "new", []) == NOTHING
    assert session.get_one(User, "new").display_name == "new"


@pytest.mark.usefixtures("people")
def test_signing_in_creates_names_and_keeps(session):
    graph.sign_in(session, "eve")
    graph.sign_in(session, "fay", "Fay", ["eve", "bob"])
    graph.sign_in(session, "bob", "Bob")
    change = graph.sign_in(session, "fay")
    session.commit()
    names = {user.id: user.display_name for user in session.scalars(select(User))}
    assert (names["eve"], names["fay"], names["bob"]) == ("eve", "Fay", "Bob")
    assert change == NOTHING, "friends that are not given stay"
    assert len(friendships(session)) == 2


@pytest.mark.usefixtures("people")
def test_a_friendship_that_another_call_makes_meanwhile_stays(engine, monkeypatch):
    """Another writer commits between the first read and the locks."""
    sessions = session_factory(engine)
    original = graph.lock_users

    def meanwhile(session, user_ids):
        monkeypatch.setattr(graph, "lock_users", original)
        with sessions() as other:
            rows = [("ann", "cid", ACCEPTED), ("ann", "bob", BLOCKED)]
            graph.load_bulk(other, friendships=rows)
            other.commit()
        return original(session, user_ids)

    monkeypatch.setattr(graph, "lock_users", meanwhile)
    with sessions() as session:
        change = graph.put_friends(session, "ann", {"bob", "dan"})
        session.commit()
        assert change == gained(("ann", "dan"))
        assert friendships(session) == {
            ("ann", "bob", BLOCKED),
            ("ann", "cid", ACCEPTED),
            ("ann", "dan", ACCEPTED),
        }


@pytest.mark.usefixtures("relations")
def test_one_participant_joins_and_leaves(session):
    assert graph.add_participant(session, "c", "bob") == gained(
        ("bob", "cid"), ("bob", "dan")
    )
    assert graph.add_participant(session, "c", "bob") == NOTHING
    assert audience.participants_of(session, "c") == {"ann", "bob", "cid", "dan"}
    # Ann and bob are friends, so that they stay relevant.
    assert graph.remove_participant(session, "c", "ann") == lost(("ann", "cid"))
    for _ in range(2):
        assert graph.remove_participant(session, "c", "ann") == NOTHING
    assert graph.remove_participant(session, "none", "ann") == NOTHING
    assert graph.remove_participant(session, "c", "nobody") == NOTHING
    assert audience.participants_of(session, "c") == {"bob", "cid", "dan"}


@pytest.mark.usefixtures("people")
def test_a_participant_needs_a_user_and_a_conversation(session):
    with pytest.raises(graph.UnknownConversation, match="no conversation c"):
        graph.add_participant(session, "c", "ann")
    graph.put_conversation(session, "c", "", [])
    with pytest.raises(graph.UnknownUser, match="unknown user: nobody"):
        graph.add_participant(session, "c", "nobody")


@pytest.mark.usefixtures("relations")
def test_a_bulk_deletes_too(session):
    gone = Deletions(
        users={"bob", "nobody"},
        friendships={("dan", "ann"), ("ann", "bob"), ("cid", "nobody")},
        conversations={"old", "none"},
    )
    graph.put_conversation(session, "old", "", ["bob", "cid", "dan"])
    new = ConversationRecord("new", "", frozenset({"cid", "eve"}))
    change = graph.load_bulk(
        session, {"eve": "Eve"}, [("eve", "ann", ACCEPTED)], [new], gone
    )
    # Dan is no longer blocked and still shares a conversation with ann and with cid.
    assert change.gained == {("ann", "dan"), ("ann", "eve"), ("cid", "eve")}
    assert change.lost == {("ann", "bob"), ("bob", "cid"), ("bob", "dan")}
    assert friendships(session) == {("ann", "cid", PENDING), ("ann", "eve", ACCEPTED)}
    assert session.get(User, "bob") is None
    assert set(session.scalars(select(conversation_table.c.id))) == {"c", "new"}
    assert graph.load_bulk(session, deletions=gone) == NOTHING


@pytest.mark.usefixtures("relations")
def test_a_bulk_cannot_use_a_user_whom_it_deletes(session):
    with pytest.raises(graph.UnknownUser, match="unknown user: bob"):
        graph.load_bulk(
            session,
            friendships=[("cid", "bob", ACCEPTED)],
            deletions=Deletions(users={"bob"}),
        )


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    "write",
    [
        lambda session: graph.put_friendship(session, "ann", "nobody", PENDING),
        lambda session: graph.put_conversation(session, "c", "", ["ann", "nobody"]),
        lambda session: graph.load_bulk(
            session,
            {"new": "New"},
            [("new", "ann", ACCEPTED), ("bob", "nobody", ACCEPTED)],
            [ConversationRecord("c", "", frozenset({"new"}))],
        ),
    ],
    ids=["friendship", "conversation", "bulk"],
)
def test_an_unknown_user_is_named_and_nothing_is_written(session, write):
    with pytest.raises(graph.UnknownUser, match="unknown user: nobody") as caught:
        write(session)
    session.rollback()

    assert caught.value.user_ids == ("nobody",)
    assert count(session, user_table) == 4
    assert count(session, friendship_table) == 0
    assert count(session, conversation_table) == 0


def test_many_unknown_users_make_a_short_message():
    error = graph.UnknownUser(f"u{number:02}" for number in range(12))
    assert str(error) == (
        "unknown user: u00, u01, u02, u03, u04, u05, u06, u07, u08, u09 and 2 more"
    )


@pytest.mark.usefixtures("people")
def test_of_several_entries_for_the_same_thing_the_last_one_holds(session):
    change = graph.load_bulk(
        session,
        {"ann": "Last"},
        [("ann", "bob", ACCEPTED), ("bob", "ann", PENDING), ("cid", "ann", ACCEPTED)],
        [
            ConversationRecord("c", "first", frozenset({"bob", "dan"})),
            ConversationRecord("c", "last", frozenset({"cid", "dan"})),
        ],
    )
    assert change == gained(("ann", "cid"), ("cid", "dan"))
    assert session.get_one(User, "ann").display_name == "Last"
    assert session.get_one(Conversation, "c").title == "last"


@pytest.mark.slow
def test_a_bulk_of_thirty_thousand_rows(session, engine):
    names = {f"user-{number}": f"User {number}" for number in range(10_000)}
    ids = list(names)
    friendships = [(ids[i], ids[(i * 7 + 1) % 10_000], ACCEPTED) for i in range(10_000)]
    friendships = [each for each in friendships if each[0] != each[1]]
    conversations = [
        ConversationRecord(f"c{i}", "", frozenset(ids[i : i + 3])) for i in range(9_998)
    ]

    with statements(engine) as sent:
        change = graph.load_bulk(session, names, friendships, conversations)
    again = graph.load_bulk(session, names, friendships, conversations)
    session.commit()

    pairs = {tuple(sorted(each[:2])) for each in friendships}
    for record in conversations:
        one, two, three = sorted(record.participants)
        pairs |= {(one, two), (one, three), (two, three)}
    assert change.gained == pairs
    assert again == NOTHING
    assert count(session, user_table) == 10_000
    assert count(session, participant_table) == 3 * 9_998
    assert len(sent) < 20, "the number of statements does not grow with the rows"


@pytest.mark.usefixtures("people")
def test_one_more_in_a_large_conversation_costs_that_one_only(session):
    ids = [f"user-{number}" for number in range(400)]
    graph.load_bulk(session, {user_id: user_id for user_id in ids})
    graph.put_conversation(session, "big", "", ids)

    change = graph.put_conversation(session, "big", "", [*ids, "ann"])
    assert change == gained(*(("ann", user_id) for user_id in ids))


def test_a_conversation_has_a_largest_size(session):
    ids = [f"user-{number}" for number in range(MAX_PARTICIPANTS + 1)]
    with pytest.raises(graph.TooManyParticipants, match="c has 5001 participants"):
        graph.put_conversation(session, "c", "", ids)


def test_of_too_many_pairs_only_the_users_are_named(session, monkeypatch):
    users = {f"user-{number:02}": "A name" for number in range(12)}
    ids = sorted(users)
    halves = [
        ConversationRecord("one", "", frozenset(ids[:6])),
        ConversationRecord("two", "", frozenset(ids[6:])),
    ]
    monkeypatch.setattr("models.sql.graph.MAX_PAIRS", 29)  # each of the two has 15
    change = graph.load_bulk(session, users, conversations=halves)
    assert change.gained == set(combinations(ids[:6], 2))
    assert change.refreshed == set(ids[6:])
    assert graph.load_bulk(session, conversations=halves) == NOTHING

    monkeypatch.setattr("models.sql.graph.MAX_PAIRS", 10)
    # A user joins, which makes six pairs, and leaves five others.
    moved = ConversationRecord("two", "", frozenset([ids[0], *ids[6:]]))
    left = ConversationRecord("one", "", frozenset(ids[1:6]))
    change = graph.load_bulk(session, conversations=[moved, left])
    assert change.gained == {(ids[0], other) for other in ids[6:]}
    assert (change.lost, change.refreshed) == (set(), set(ids[:6]))

    change = graph.delete_conversation(session, "two")
    assert change == GraphChange(refreshed=moved.participants)
    assert count(session, participant_table) == 5


def test_of_many_users_who_are_deleted_only_the_others_are_named(session, monkeypatch):
    ids = [f"user-{number}" for number in range(8)]
    talk = ConversationRecord("c", "", frozenset(ids))
    graph.load_bulk(session, dict.fromkeys(ids, "A name"), conversations=[talk])
    monkeypatch.setattr("models.sql.graph.MAX_PAIRS", 12)
    change = graph.load_bulk(session, deletions=Deletions(users=set(ids[:2])))
    assert len(change.lost) == 7
    assert change.refreshed == set(ids[2:])


def test_a_conversation_of_the_largest_size_is_made_and_deleted(session, engine):
    ids = [f"user-{number}" for number in range(MAX_PARTICIPANTS)]
    graph.load_bulk(session, dict.fromkeys(ids, "A name"))
    with statements(engine) as sent:
        change = graph.put_conversation(session, "c", "", ids)
    assert change == GraphChange(refreshed=frozenset(ids))
    with pytest.raises(graph.TooManyParticipants, match="at most 5000"):
        graph.put_user(session, "ann", "Ann")
        graph.add_participant(session, "c", "ann")
    one = graph.remove_participant(session, "c", ids[0])
    assert one == lost(*(tuple(sorted((ids[0], other))) for other in ids[1:]))
    assert graph.add_participant(session, "c", "ann") == gained(
        *(("ann", other) for other in ids[1:])
    )
    assert graph.delete_conversation(session, "c").refreshed == {"ann", *ids[1:]}
    assert len(sent) < 20, "the number of statements does not grow with the rows"


def test_rows_go_in_calls_of_a_bounded_size(session, monkeypatch):
    monkeypatch.setattr("models.sql.db.ROWS_PER_CALL", 2)
    with statements(session.get_bind()) as sent:
        graph.load_bulk(session, {f"user-{number}": "A name" for number in range(5)})
    assert count(session, user_table) == 5
    assert sum("INSERT INTO users" in one for one in sent) == 3


@pytest.mark.usefixtures("people")
def test_writers_at_the_same_time_all_succeed_and_report_each_change_once(engine):
    """Two befriend and separate the same pairs, in opposite orders.

    Without row locks (PostgreSQL) or taking the write lock first (SQLite) this
    deadlocks, fails as locked, or counts a change twice.
    """
    sessions = session_factory(engine)
    pairs = [("ann", "bob"), ("bob", "cid"), ("cid", "dan"), ("ann", "dan")]
    start = threading.Barrier(4)
    errors: list[Exception] = []
    changes: list[GraphChange] = []

    def write(turn: int) -> None:
        order = pairs if turn % 2 else pairs[::-1]
        start.wait()
        try:
            for number in range(10):
                with sessions() as session:
                    status = ACCEPTED if (number + turn) % 2 else PENDING
                    rows = [(*pair, status) for pair in order]
                    change = graph.load_bulk(session, friendships=rows)
                    session.commit()
                changes.append(change)
        except Exception as error:  # noqa: BLE001 - any is a failure of the test
            errors.append(error)

    threads = [threading.Thread(target=write, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with sessions() as session:
        relevant = audience.relevant_pairs(session, pairs)
    for pair in pairs:
        gains = sum(pair in change.gained for change in changes)
        losses = sum(pair in change.lost for change in changes)
        assert gains - losses == (pair in relevant)


@pytest.mark.usefixtures("people")
def test_friends_are_replaced_by_many_at_the_same_time(engine):
    """Each of four users has all the others as friends, and then nobody, again and
    again. The locks are taken in one order, so nobody fails, and each change is
    reported once."""
    sessions = session_factory(engine)
    names = ("ann", "bob", "cid", "dan")
    start = threading.Barrier(len(names))
    errors: list[Exception] = []
    changes: list[GraphChange] = []

    def write(name: str) -> None:
        start.wait()
        try:
            for number in range(10):
                friends = set() if number % 2 else {*names} - {name}
                with sessions() as session:
                    change = graph.put_friends(session, name, friends)
                    session.commit()
                changes.append(change)
        except Exception as error:  # noqa: BLE001 - any is a failure of the test
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    pairs = list(combinations(names, 2))
    with sessions() as session:
        relevant = audience.relevant_pairs(session, pairs)
    for pair in pairs:
        gains = sum(pair in change.gained for change in changes)
        losses = sum(pair in change.lost for change in changes)
        assert gains - losses == (pair in relevant)


def test_changes_add_up():
    one = GraphChange(frozenset({("a", "b"), ("a", "c")}), frozenset({("a", "d")}))
    two = GraphChange(frozenset({("a", "d"), ("b", "c")}), frozenset({("a", "b")}))

    assert one.combined_with(two) == gained(("a", "c"), ("b", "c"))
    assert bool(one.combined_with(two))
    assert not NOTHING


@pytest.mark.usefixtures("people")
def test_a_session_that_has_read_can_write_after_somebody_else_wrote(engine):
    """As a PUT does, which first looks whether the thing is there."""
    sessions = session_factory(engine)
    with sessions() as mine, sessions() as other:
        assert mine.get(Friendship, ("ann", "bob")) is None
        graph.put_friendship(other, "bob", "cid", ACCEPTED)
        other.commit()

        change = graph.put_friendship(mine, "ann", "bob", ACCEPTED)
        mine.commit()
    assert change == gained(("ann", "bob"))
