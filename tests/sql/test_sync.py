"""A sync with CSV files: what it plans, and what its steps make of the graph."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.sql import sync
from models.sql.conversation import MAX_PARTICIPANTS, conversation_table
from models.sql.csv_rows import ImportFailed
from models.sql.friendship import FriendshipStatus, friendship_table
from models.sql.graph import ConversationRecord, GraphChange, load_bulk
from models.sql.pages import conversations_page
from models.sql.sync import plan_sync, steps
from models.sql.sync_files import read_files
from models.sql.user import put_users, user_table

pytestmark = pytest.mark.integration

ACCEPTED, PENDING, BLOCKED = (
    FriendshipStatus.ACCEPTED,
    FriendshipStatus.PENDING,
    FriendshipStatus.BLOCKED,
)
GOOD = {
    "users.csv": "id,display_name\nann,Ann\nbob,Bob\ncid,Cid\ndan,Dan\n",
    "friendships.csv": "user,friend\nann,bob\ncid,ann\nann,dan\n",
    "conversations.csv": "id,title\nc1,One\nc2,Two\n",
    "participants.csv": "conversation,user\nc1,ann\nc1,bob\nc1,cid\nc2,dan\n",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "csv"
    folder.mkdir()
    return folder


def write(folder, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)


def plan(session, folder):
    return plan_sync(session, read_files(folder))


def run(session, planned, most: int | None = None) -> GraphChange:
    """Do the steps, but at most so many."""
    change = GraphChange()
    for step in list(steps(planned))[:most]:
        change = change.combined_with(step.write(session))
        session.commit()
    return change


def make(session, folder):
    """Sync with the files in `folder`. Returns the change and the bad rows."""
    planned = plan(session, folder)
    change = run(session, planned)
    return change, list(map(str, planned.bad_rows))


def graph(session: Session) -> dict[str, object]:
    """All that is stored."""
    page = conversations_page(session, "", 100_000)
    return {
        "users": dict(
            session.execute(select(user_table.c.id, user_table.c.display_name)).all()
        ),
        "friendships": {
            (a, b): str(FriendshipStatus(status))
            for a, b, status in session.execute(select(friendship_table))
        },
        "conversations": {
            one.id: (one.title, set(one.participants)) for one in page.items
        },
    }


WHOLE = {
    "users": {"ann": "Ann", "bob": "Bob", "cid": "Cid", "dan": "Dan"},
    "friendships": dict.fromkeys(
        [("ann", "bob"), ("ann", "cid"), ("ann", "dan")], "accepted"
    ),
    "conversations": {"c1": ("One", {"ann", "bob", "cid"}), "c2": ("Two", {"dan"})},
}


def sizes(planned):
    return {
        name: (len(one.creates), len(one.updates), len(one.deletes))
        for name, one in planned.kinds.items()
    }


def test_an_empty_database_gets_all(session, folder):
    write(folder, GOOD)
    planned = plan(session, folder)
    assert sizes(planned) == {
        "users": (4, 0, 0),
        "friendships": (3, 0, 0),
        "conversations": (2, 0, 0),
        "participants": (4, 0, 0),
    }
    assert graph(session) == {"users": {}, "friendships": {}, "conversations": {}}
    change = run(session, planned)
    pairs = [("ann", "bob"), ("ann", "cid"), ("ann", "dan"), ("bob", "cid")]
    assert change.gained == frozenset(pairs)
    assert graph(session) == WHOLE


def test_a_second_run_changes_nothing(session, folder):
    write(folder, GOOD)
    make(session, folder)
    planned = plan(session, folder)
    assert len(planned) == 0
    assert list(steps(planned)) == []


def test_what_is_not_listed_is_deleted(session, folder):
    write(folder, GOOD)
    make(session, folder)
    write(
        folder,
        {
            "users.csv": "id,display_name\nann,Anna\nbob,\ncid,Cid\n",
            "friendships.csv": "user_a,user_b\nbob,ann\n",
            "conversations.csv": "id,title\nc1,\n",
            "participants.csv": "conversation_id,user_id\nc1,cid\nc1,ann\n",
        },
    )
    planned = plan(session, folder)
    assert sizes(planned) == {
        "users": (0, 1, 1),
        "friendships": (0, 0, 2),
        "conversations": (0, 0, 1),
        "participants": (0, 0, 2),
    }
    change = run(session, planned)
    # Ann and cid are no friends any more, but still share a conversation.
    assert change.lost == frozenset([("ann", "dan"), ("bob", "cid")])
    assert graph(session) == {
        "users": {"ann": "Anna", "bob": "Bob", "cid": "Cid"},
        "friendships": {("ann", "bob"): "accepted"},
        "conversations": {"c1": ("One", {"ann", "cid"})},
    }


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_kind_without_a_file_is_left_alone(session, folder, missing):
    write(folder, GOOD)
    make(session, folder)
    (folder / missing).unlink()
    assert len(plan(session, folder)) == 0
    for name in GOOD:
        if name != missing:
            header = GOOD[name].partition("\n")[0]
            write(folder, {name: header + "\n"})
    make(session, folder)
    kept = {
        "users.csv": {"users": WHOLE["users"]},
        # Without users there are no friendships, and without conversations and users no
        # participants.
        "friendships.csv": {},
        "conversations.csv": {
            "conversations": {"c1": ("One", set()), "c2": ("Two", set())}
        },
        "participants.csv": {},
    }
    empty = {"users": {}, "friendships": {}, "conversations": {}}
    assert graph(session) == empty | kept[missing]


def test_conversations_alone_keep_their_participants(session, folder):
    write(folder, GOOD)
    make(session, folder)
    for name in ("users.csv", "friendships.csv", "participants.csv"):
        (folder / name).unlink()
    write(folder, {"conversations.csv": "id,title\nc1,Uno\nc3,Three\n"})
    change, _ = make(session, folder)
    assert graph(session)["conversations"] == {
        "c1": ("Uno", {"ann", "bob", "cid"}),
        "c3": ("Three", set()),
    }
    assert not change


# How files may look


@pytest.mark.parametrize(
    "users",
    [
        b"\xef\xbb\xbfid,display_name\r\nann,Ann\r\nbob,Bob\r\n",
        b"display_name,id,age\nAnn,ann,30\nBob,bob,31",
        b'"id","display_name"\n"ann","Ann"\n"bob","Bob"\n',
        b"id,display_name\n\nann,Ann\n\nbob,Bob\n\n\n",
        b"id,display_name\nann,Ann\nbob,Bob\nann,Ann\n",
        b"id , display_name\n ann , Ann \nbob,Bob\n",
        b"id,display_name,,\nann,Ann,,\nbob,Bob,,x\n",
    ],
)
def test_files_that_say_the_same(session, folder, users):
    write(folder, {"users.csv": users})
    _, bad = make(session, folder)
    assert bad == []
    assert graph(session)["users"] == {"ann": "Ann", "bob": "Bob"}


def test_quoted_fields(session, folder):
    content = 'id,display_name\nann,"Lovelace, ""Ada"""\nzoë,Zoë\nbob,"Bob ü 🌴"\n'
    write(folder, {"users.csv": content})
    _, bad = make(session, folder)
    assert graph(session)["users"] == {"ann": 'Lovelace, "Ada"', "bob": "Bob ü 🌴"}
    assert len(bad) == 1
    assert bad[0].startswith("users.csv:3: id: 'zoë' is not an id")


def test_a_pair_is_listed_in_both_orders_and_twice(session, folder):
    write(folder, GOOD)
    write(folder, {"friendships.csv": "user,friend\nann,bob\nbob,ann\nann,bob\n"})
    _, bad = make(session, folder)
    assert bad == []
    assert graph(session)["friendships"] == {("ann", "bob"): "accepted"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("users.csv", "", "users.csv:1: the header lacks id"),
        ("users.csv", "name\nann\n", "users.csv:1: the header lacks id"),
        (
            "friendships.csv",
            "user_a,friends\n",
            "friendships.csv:1: the header lacks user_b",
        ),
        ("participants.csv", "user\nann\n", "the header lacks conversation_id"),
        ("users.csv", b"id,display_name\nann,Zo\xeb\n", "users.csv: is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_stops_all(session, folder, name, content, message):
    write(folder, GOOD)
    write(folder, {name: content})
    with pytest.raises(ImportFailed) as caught:
        plan(session, folder)
    assert message in str(caught.value)


def test_a_folder_without_files(session, folder):
    with pytest.raises(ImportFailed, match="has none of"):
        plan(session, folder)


# Bad rows


def test_bad_rows_are_left_out_and_named(session, folder):
    write(folder, GOOD)
    write(
        folder,
        {
            "friendships.csv": (
                "user,friend,status\nann,bob,\nann,ghost,\nghost,ghoul,\nann,ann,\n"
                "bob,cid,pending\ncid,dan,enemies\nann,cid,accepted\n"
            ),
            "participants.csv": (
                "conversation,user\nc1,ann\nc9,ann\nc1,ghost\nc9,ghost\nc2,bob\n"
            ),
        },
    )
    _, bad = make(session, folder)
    left_alone = "is left alone, because a sync sets accepted only"
    assert bad == [
        "friendships.csv:3: unknown user ghost",
        "friendships.csv:4: unknown user ghost, user ghoul",
        "friendships.csv:5: user_b: ann cannot be in a friendship with the same user",
        f"friendships.csv:6: status: 'pending' {left_alone}",
        f"friendships.csv:7: status: 'enemies' {left_alone}",
        "participants.csv:3: unknown conversation c9",
        "participants.csv:4: unknown user ghost",
        "participants.csv:5: unknown conversation c9, user ghost",
    ]
    assert graph(session)["friendships"].keys() == {("ann", "bob"), ("ann", "cid")}
    assert graph(session)["conversations"] == {
        "c1": ("One", {"ann"}),
        "c2": ("Two", {"bob"}),
    }


def test_a_user_whose_row_is_wrong_is_neither_changed_nor_deleted(session, folder):
    write(folder, GOOD)
    make(session, folder)
    write(
        folder,
        {"users.csv": "id,display_name\nann,A\x07\nbob,Bob\ncid,Cid\nnew,\x07\n"},
    )
    _, bad = make(session, folder)
    assert len(bad) == 4  # and what dan is in
    assert graph(session)["users"] == {"ann": "Ann", "bob": "Bob", "cid": "Cid"}
    assert ("ann", "bob") in graph(session)["friendships"]


def test_two_names_for_one_user(session, folder):
    write(folder, {"users.csv": "id,display_name\nann,Ann\n"})
    make(session, folder)
    write(folder, {"users.csv": "id,display_name\nann,Anna\nbob,Bob\nann,Anne\n"})
    _, bad = make(session, folder)
    assert bad == ["users.csv:4: ann is also in line 2, with another text"]
    assert graph(session)["users"] == {"ann": "Ann", "bob": "Bob"}


@pytest.mark.parametrize(
    "row",
    ["d d,Dan", ",", "dan,Dan,too much", 'dan,"Dan"x', 'dan,"Da', "\x00,x"],
)
def test_a_row_that_cannot_be_read_forbids_deletions_of_its_kind(session, folder, row):
    write(folder, GOOD)
    make(session, folder)
    write(folder, {"users.csv": f"id,display_name\neve,Eve\nann,Ann\n{row}\n"})
    planned = plan(session, folder)
    assert len(planned.bad_rows) == 1
    assert (len(planned.users.deletes), planned.users.held_back) == (0, 3)
    run(session, planned)
    assert graph(session)["users"] == WHOLE["users"] | {"eve": "Eve"}
    assert graph(session)["friendships"] == WHOLE["friendships"]


def test_a_conversation_with_too_many_keeps_its_participants(session, folder):
    write(folder, GOOD)
    make(session, folder)
    ids = [f"u{number}" for number in range(MAX_PARTICIPANTS + 1)]
    (folder / "users.csv").unlink()
    put_users(session, {key: key for key in ids})
    session.commit()
    rows = "".join(f"c1,{key}\n" for key in ids)
    write(folder, {"participants.csv": f"conversation,user\n{rows}c2,ann\n"})
    _, bad = make(session, folder)
    assert len(bad) == 1
    assert bad[0].startswith(
        f"participants.csv:{MAX_PARTICIPANTS + 2}: conversation c1"
    )
    assert graph(session)["conversations"] == {
        "c1": ("One", {"ann", "bob", "cid"}),
        "c2": ("Two", {"ann"}),
    }


# Friendships that a sync does not decide


def test_pending_and_blocked_pairs(session, folder):
    write(folder, GOOD)
    make(session, folder)
    pairs = [
        ("ann", "bob", BLOCKED),  # listed
        ("ann", "cid", PENDING),  # listed
        ("bob", "cid", BLOCKED),
        ("bob", "dan", PENDING),
    ]
    load_bulk(session, friendships=pairs)
    session.commit()
    planned = plan(session, folder)
    assert planned.blocked == 1
    assert sizes(planned)["friendships"] == (0, 1, 0)
    run(session, planned)
    assert graph(session)["friendships"] == {
        ("ann", "bob"): "blocked",
        ("ann", "cid"): "accepted",
        ("ann", "dan"): "accepted",
        ("bob", "cid"): "blocked",
        ("bob", "dan"): "pending",
    }


def test_the_host_changes_the_graph_meanwhile(session, folder):
    """After the plan a pair is blocked, one ends, a user and a conversation go."""
    write(folder, GOOD)
    make(session, folder)
    files = {
        "users.csv": GOOD["users.csv"] + "eve,Eve\nfay,Fay\n",
        "friendships.csv": "user,friend\nann,bob\nbob,eve\nbob,fay\ncid,fay\n",
        "participants.csv": GOOD["participants.csv"] + "c2,eve\nc2,fay\n",
    }
    write(folder, files)
    planned = plan(session, folder)
    todo = list(steps(planned))
    todo[0].write(session)  # the users
    session.commit()
    load_bulk(
        session,
        friendships=[("ann", "cid", BLOCKED), ("bob", "fay", BLOCKED)],
        deletions=sync.Deletions(users={"eve"}, conversations={"c1"}),
    )
    session.commit()
    for step in todo[1:]:
        step.write(session)
        session.commit()
    assert graph(session)["friendships"] == {
        ("ann", "bob"): "accepted",
        ("ann", "cid"): "blocked",
        ("bob", "fay"): "blocked",
        ("cid", "fay"): "accepted",
    }
    assert graph(session)["conversations"] == {"c2": ("Two", {"dan", "fay"})}


# Steps


@pytest.mark.parametrize("seed", range(6))
def test_stopped_anywhere_and_run_again(session, folder, seed, monkeypatch):
    """From a random graph to another one. Small steps, so that there are many."""
    for name, size in (("ROWS_PER_STEP", 3), ("USERS_DELETED_PER_STEP", 2)):
        monkeypatch.setattr(sync, name, size)
    monkeypatch.setattr(sync, "PAIRS_PER_STEP", 6)
    choose = random.Random(seed)  # noqa: S311 - for a test
    everybody = [f"user-{number}" for number in range(12)]
    for _ in range(2):
        users = choose.sample(everybody, 9)
        talks = [f"c{number}" for number in choose.sample(range(5), 4)]
        pairs = {tuple(sorted(choose.sample(users, 2))) for _ in range(14)}
        members = {(talk, choose.choice(users)) for talk in talks for _ in range(6)}
        files = {
            "users.csv": ("id", [(user,) for user in users]),
            "friendships.csv": ("user,friend", pairs),
            "conversations.csv": ("id", [(talk,) for talk in talks]),
            "participants.csv": ("conversation,user", members),
        }
        for name, (header, rows) in files.items():
            lines = [header, *(",".join(row) for row in rows)]
            write(folder, {name: "\n".join(lines)})
        count = len(list(steps(plan(session, folder))))
        assert count > 3
        run(session, plan(session, folder), most=choose.randrange(count))
        run(session, plan(session, folder))
        assert len(plan(session, folder)) == 0
        wanted = {
            talk: {user for key, user in members if key == talk} for talk in talks
        }
        assert graph(session) == {
            "users": {user: user for user in users},
            "friendships": dict.fromkeys(pairs, "accepted"),
            "conversations": {key: ("", those) for key, those in wanted.items()},
        }


def test_the_steps_count_each_row_once(session, folder):
    write(folder, GOOD)
    make(session, folder)
    write(folder, {name: text.partition("\n")[0] + "\n" for name, text in GOOD.items()})
    planned = plan(session, folder)
    assert sum(step.rows for step in steps(planned)) == len(planned) == 13


def test_no_step_changes_many_pairs(session, folder):
    """A large conversation grows, shrinks and ends in small steps."""
    ids = [f"u{number}" for number in range(300)]
    put_users(session, {key: key for key in ids})
    load_bulk(session, conversations=[ConversationRecord("c2", "", frozenset(ids))])
    session.commit()
    rows = "".join(f"c1,{key}\n" for key in ids)
    write(
        folder,
        {
            "conversations.csv": "id\nc1\n",
            "participants.csv": f"conversation,user\n{rows}",
        },
    )
    changes = []
    for step in steps(plan(session, folder)):
        changes.append(step.write(session))
        session.commit()
    assert max(len(one.gained | one.lost) for one in changes) <= sync.PAIRS_PER_STEP
    assert not any(one.refreshed for one in changes)
    assert graph(session)["conversations"] == {"c1": ("", set(ids))}
    assert session.scalars(select(conversation_table.c.id)).all() == ["c1"]
