"""`flask sync` beside live sockets: users hear of what changes, no heartbeat waits for
it, and a command that was killed is run again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from config import PROJECT_ROOT
from tests.clients import Client
from tests.databases import empty_postgresql
from tests.system import System, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

USERS = 4_000
FRIENDS = 4
LIVE = 5


def user(number: int) -> str:
    return f"user-{number % USERS}"


def write(folder: Path, users: int = USERS) -> Path:
    """Files with that many users, each a friend of the next ones, and a conversation of
    each two."""
    folder.mkdir(exist_ok=True)
    files = {
        "users.csv": [
            "id,display_name",
            *(f"{user(n)},User {n}" for n in range(users)),
        ],
        "friendships.csv": [
            "user,friend",
            *(
                f"{user(n)},{user(n + step)}"
                for n in range(users - FRIENDS)
                for step in range(1, FRIENDS + 1)
            ),
        ],
        "conversations.csv": ["id", *(f"talk-{n}" for n in range(0, users, 2))],
        "participants.csv": [
            "conversation,user",
            *(f"talk-{n // 2 * 2},{user(n)}" for n in range(users)),
        ],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def syncing(system: System, folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    """The command, as an operator runs it."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "sync"]
    with subprocess.Popen(
        [*command, "--from-csv", str(folder), *options],
        cwd=PROJECT_ROOT,
        env=system.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def run(system: System, folder: Path, *options: str) -> str:
    with syncing(system, folder, *options) as process:
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    return out


def friends(system: System, number: int) -> set[str]:
    found = system.admin("GET", f"/users/{user(number)}/friends")["data"]["friends"]
    return set(found)


def wanted(number: int) -> set[str]:
    steps = range(-FRIENDS, FRIENDS + 1)
    others = {number + step for step in steps if step and number + step >= 0}
    return {user(one) for one in others}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def system(request, own_system_of) -> Iterator[System]:
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            url = stack.enter_context(empty_postgresql())
        yield own_system_of(**({"database_url": url} if url else {}))


def statuses(client: Client) -> set[str]:
    """The users that the client knows, by all the frames that it has seen."""
    known: set[str] = set()
    for frame in client.seen:
        if frame["event"] == "presence_snapshot":
            known = set(frame["data"]["statuses"])
        elif frame["event"] == "friend_status_changed":
            known.add(frame["data"]["user_id"])
    return known


def beat(clients: list[Client]) -> int:
    """Each client sends a heartbeat and gets its acknowledgement. Slowly enough for
    PRESENCE_MAX_FRAMES_PER_SECOND. Returns how many there were."""
    for client in clients:
        client.send("heartbeat")
        client.expect("heartbeat_ack")
    time.sleep(0.1)
    return len(clients)


def test_beside_live_sockets(system, tmp_path):
    folder = write(tmp_path / "csv")
    with ExitStack() as stack:
        live = [
            stack.enter_context(Client(system, user(n))).opened() for n in range(LIVE)
        ]
        beats = 0
        with syncing(system, folder) as process:
            while process.poll() is None:
                beats += beat(live)
            assert process.returncode == 0, process.stderr.read()
        assert beats > LIVE
        # All of them have heard of their friends and partners, by events.
        for number, client in enumerate(live):
            while statuses(client) != wanted(number):
                client.receive()
        assert run(system, folder, "--dry-run").splitlines()[1].split()[1:] == ["0"] * 3

        # Half of the users are deleted, and a user with a socket too.
        for name in ("users.csv", "friendships.csv"):
            (folder / name).unlink()
        kept = [f"talk-{n}" for n in range(4, USERS, 2)]
        (folder / "conversations.csv").write_text("\n".join(["id", *kept]))
        (folder / "participants.csv").unlink()
        run(system, folder)
        (folder / "conversations.csv").unlink()
        rows = [f"{user(n)}," for n in range(USERS // 2) if n != 1]
        (folder / "users.csv").write_text("\n".join(["id,display_name", *rows]))
        with syncing(system, folder, "--allow-deletes", "60") as process:
            while process.poll() is None:
                beat(live[2:])
            assert process.returncode == 0, process.stderr.read()
        assert live[1].expect_close() == 4403
        for number, client in ((0, live[0]), (2, live[2])):
            while statuses(client) != wanted(number) - {user(1)}:
                client.receive()
    assert friends(system, 2) == wanted(2) - {user(1)}


@pytest.mark.slow
def test_killed_half_way_and_run_again(system, tmp_path):
    folder = write(tmp_path / "csv")
    with Client(system, user(0)) as client:
        client.opened()
        with syncing(system, folder) as process:
            wait_until(lambda: stats(system) >= 1000, 60)
            process.kill()
        assert process.returncode != 0
        run(system, folder)
        while statuses(client) != wanted(0):
            client.receive()
    for number in (0, 1, 2000, 3000):
        assert friends(system, number) == wanted(number)
    lines = run(system, folder).splitlines()
    assert lines[-1] == "Nothing had to change"


def stats(system: System) -> int:
    users: int = system.admin("GET", "/stats")["data"]["users"]
    return users
