"""CSV files into the graph: what they may look like, and what a mistake says."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from models.sql import audience
from models.sql.conversation import MAX_PARTICIPANTS, Conversation
from models.sql.csv_rows import ImportFailed
from models.sql.friendship import Friendship, FriendshipStatus
from models.sql.graph import GraphChange
from models.sql.importer import import_csv
from models.sql.user import User, user_table

pytestmark = pytest.mark.integration

GOOD = {
    "users.csv": 'id,display_name\nann,Ann\nbob,\ncid,Cid\ndan,"Dan, the last"\n',
    "friendships.csv": (
        "user_b,user_a,status\nann,bob,accepted\ncid,ann,\ndan,ann,pending\n"
    ),
    "conversations.csv": "id,title,colour\nc1,One,red\nc2,,\n",
    "participants.csv": "conversation_id,user_id\nc1,dan\nc1,ann\n",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "csv"
    folder.mkdir()
    write(folder, GOOD)
    return folder


def write(folder, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


def test_a_whole_graph(session, folder):
    change = import_csv(session, folder).change
    session.commit()

    pairs = {("ann", "bob"), ("ann", "cid"), ("ann", "dan")}
    assert change == GraphChange(gained=frozenset(pairs))
    assert session.get_one(User, "bob").display_name == "bob"
    assert session.get_one(User, "dan").display_name == "Dan, the last"
    pending = session.get_one(Friendship, ("ann", "dan"))
    assert pending.status is FriendshipStatus.PENDING
    assert session.get_one(Conversation, "c1").title == "One"
    assert audience.participants_of(session, "c1") == {"ann", "dan"}
    assert audience.participants_of(session, "c2") == set()


def test_again_changes_nothing(session, folder):
    import_csv(session, folder)
    assert import_csv(session, folder).change == GraphChange()


def test_single_files_add_to_what_is_there(session, folder, tmp_path):
    import_csv(session, folder)
    later = tmp_path / "later"
    later.mkdir()
    write(later, {"friendships.csv": "\ufeffuser_a,user_b\r\nbob,cid\r\n"})

    change = import_csv(session, later).change
    assert change == GraphChange(gained=frozenset({("bob", "cid")}))


def test_what_was_in_the_files_is_counted(session, folder):
    found = import_csv(session, folder)
    counts = found.users, found.friendships, found.conversations, found.participants
    assert counts == (4, 3, 2, 2)


def test_a_name_or_title_that_is_not_given_leaves_what_is_there(session, folder):
    import_csv(session, folder)
    # Somebody named the column wrong, and left a title out.
    users = "id,name\ncid,Someone else\neve,Eve\n"
    write(folder, {"users.csv": users, "conversations.csv": "id\nc1\nc2\n"})

    import_csv(session, folder)
    assert session.get_one(User, "cid").display_name == "Cid"
    assert session.get_one(User, "eve").display_name == "eve"
    assert session.get_one(Conversation, "c1").title == "One"


@pytest.mark.parametrize("alone", ["conversations.csv", "participants.csv"])
def test_a_conversation_is_not_replaced_without_its_participants(
    session, folder, alone
):
    for name in GOOD:
        if name != alone:
            (folder / name).unlink()
    with pytest.raises(ImportFailed, match=f"{alone} is alone"):
        import_csv(session, folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("users.csv", "name\nann\n", "users.csv:1: the header lacks id"),
        ("users.csv", "", "users.csv:1: the header lacks id"),
        ("users.csv", "id\nann\nb b\n", "users.csv:3: id: 'b b' is not an id"),
        (
            "users.csv",
            "id,display_name\nann,a\x07b\n",
            "users.csv:2: display_name: takes text of 0 to 200 characters",
        ),
        ("users.csv", 'id,display_name\nann,"open\n', "users.csv:2: unexpected end"),
        (
            "friendships.csv",
            "user_a,user_b\nann,bob\nann,nobody\n",
            "friendships.csv:3: unknown user nobody",
        ),
        (
            "friendships.csv",
            "user_a,user_b\nann,ann\n",
            "friendships.csv:2: user_b: ann cannot be in a friendship",
        ),
        (
            "friendships.csv",
            "user_a,user_b,status\nann,bob,enemies\n",
            "friendships.csv:2: status: takes pending, accepted or blocked",
        ),
        ("friendships.csv", "user_a,user_b\nann\n", "friendships.csv:2: user_b: ''"),
        (
            "participants.csv",
            "conversation_id,user_id\nc9,ann\n",
            "participants.csv:2: conversation_id: c9 is not in conversations.csv",
        ),
        (
            "participants.csv",
            "conversation_id,user_id\nc1,ann\nc1,ghost\n",
            "participants.csv:3: unknown user ghost",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_line(session, folder, name, content, message):
    write(folder, {name: content})

    with pytest.raises(ImportFailed) as caught:
        import_csv(session, folder)
    session.rollback()

    assert message in str(caught.value)
    assert session.scalar(select(func.count()).select_from(user_table)) == 0


def test_a_file_that_is_not_utf_8(session, folder):
    (folder / "users.csv").write_bytes("id,display_name\nann,Zoë\n".encode("latin-1"))
    with pytest.raises(ImportFailed, match=r"users\.csv: is not UTF-8"):
        import_csv(session, folder)


def test_a_folder_without_any_of_the_files(session, tmp_path):
    with pytest.raises(ImportFailed, match=r"has none of users\.csv"):
        import_csv(session, tmp_path)


def test_a_conversation_that_is_too_large(session, folder):
    ids = [f"u{number}" for number in range(MAX_PARTICIPANTS + 1)]
    write(
        folder,
        {
            "users.csv": "id\nann\nbob\ncid\ndan\n" + "\n".join(ids),
            "participants.csv": "conversation_id,user_id\n"
            + "\n".join(f"c1,{user_id}" for user_id in ids),
        },
    )
    with pytest.raises(ImportFailed, match="c1 has 5001 participants"):
        import_csv(session, folder)


def test_more_pairs_than_one_call_takes_go_in_slices(session, tmp_path, monkeypatch):
    for module in ("models.sql.graph", "models.sql.importer"):
        monkeypatch.setattr(f"{module}.MAX_PAIRS", 10)
    folder = tmp_path / "slices"
    folder.mkdir()
    write(
        folder,
        {
            "users.csv": "id\n" + "\n".join("abcd"),
            "conversations.csv": "id\n" + "\n".join(f"c{i}" for i in range(9)),
            "participants.csv": "conversation_id,user_id\n"
            + "\n".join(f"c{i},{user_id}" for i in range(9) for user_id in "abcd"),
        },
    )
    assert len(import_csv(session, folder).change.gained) == 6
