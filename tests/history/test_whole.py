"""Sessions and `last_seen` of a whole Greendot: real processes, which are killed and
restarted."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest

from greendot_client import Admin, Session
from tests.clients import Client
from tests.docs.pages import Page
from tests.servers import KeptRedis
from tests.system import SERVICE_KEY, System, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PATIENCE = 60.0
UNSTORED = "presence:unstored"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A system that keeps sessions, for all tests here. Each has users of its own, and
    leaves all processes running."""
    running = System(
        store=KeptRedis(), PRESENCE_SESSION_DAYS="30", PRESENCE_SWEEP_INTERVAL="0.5"
    )
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture
def ann() -> str:
    return f"ann-{uuid4().hex[:8]}"


@pytest.fixture
def bob() -> str:
    return f"bob-{uuid4().hex[:8]}"


@contextmanager
def without_worker(system: System) -> Iterator[None]:
    """The worker has been killed, and is started again at the end."""
    system.processes["worker"].kill()
    try:
        yield
    finally:
        system.start_process("worker")


def status(system: System, user: str) -> dict[str, str]:
    return system.redis.hgetall(f"user:{user}:status")


def sessions(system: System, user: str) -> list[dict[str, int | None]]:
    found = system.admin("GET", f"/users/{user}/sessions?limit=1000")["data"]
    assert found["next_cursor"] is None
    return found["sessions"]


def come_and_go(system: System, user: str, web: int = 0) -> dict[str, int]:
    """The session that the user has had, as Redis told it meanwhile."""
    with Client(system, user, web=web).opened():
        wait_until(lambda: system.is_online(user), PATIENCE)
        begin = int(status(system, user)["updated_at"])
    wait_until(lambda: not system.is_online(user), PATIENCE)
    return {"start": begin, "end": max(begin, int(status(system, user)["last_seen"]))}


def documented(system: System) -> list[dict[str, int | None]]:
    """What the command in docs/INTEGRATE.md shows of the user "ann"."""
    done = subprocess.run(
        ["bash", "-euc", Page("docs/INTEGRATE.md").block("curl-sessions").text],
        env={**system.environ, "GREENDOT_URL": system.url(), "KEY": SERVICE_KEY},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)["data"]["sessions"]


def vars_of(session: Session) -> dict[str, int | None]:
    return {"start": session.start, "end": session.end}


def has(system: System, user: str, wanted: list[dict[str, int]]):
    return lambda: sessions(system, user) == wanted


def all_stored(system: System):
    return lambda: (
        system.redis.xlen(UNSTORED) == 0 == system.redis.xlen("presence:transitions")
    )


def test_a_host_reads_sessions(system, bob):
    """Only this test has a user "ann": the document names her."""
    system.befriend("ann", bob)
    first = come_and_go(system, "ann")
    with Client(system, "ann").opened():
        wait_until(lambda: len(sessions(system, "ann")) == 2, PATIENCE)
        assert sessions(system, "ann")[0] == first
        assert sessions(system, "ann")[1]["end"] is None
        assert documented(system) == sessions(system, "ann")
        with Admin(system.url(), SERVICE_KEY) as admin:
            assert [vars_of(one) for one in admin.sessions("ann")] == documented(system)
            page = admin.sessions_page("ann", limit=1)
            assert [vars_of(one) for one in page.items] == [first]
            page = admin.sessions_page("ann", page.next_cursor, limit=1)
            assert (page.items[0].end, page.next_cursor) == (None, None)
            assert len(list(admin.sessions("ann", since=first["end"] + 1))) == 1
    assert sessions(system, bob) == []
    # A transition of a deleted user would stay in the queue for a while.
    wait_until(lambda: not system.is_online("ann"), PATIENCE)
    wait_until(all_stored(system), PATIENCE)
    system.admin("DELETE", "/users/ann")
    answer = system.request("GET", "/api/admin/users/ann/sessions", token=SERVICE_KEY)
    assert answer[0] == 404


def test_a_gateway_is_killed(system, own_web, ann):
    """The session ends with the last heartbeat, not with the sweep that found out."""
    client = Client(system, ann, web=own_web)
    with client.opened():
        wait_until(lambda: system.is_online(ann), PATIENCE)
        begin = int(status(system, ann)["updated_at"])
        wait_until(lambda: int(status(system, ann)["last_seen"]) > begin, PATIENCE)
        system.processes[f"web{own_web}"].kill()
        wait_until(lambda: not system.is_online(ann), PATIENCE)
    found = status(system, ann)
    end = int(found["last_seen"])
    assert begin < end < int(found["updated_at"])
    wait_until(has(system, ann, [{"start": begin, "end": end}]), PATIENCE)


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 1), pytest.param(30, 2, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1200)
def test_a_worker_is_killed_at_any_point(system, kills, seed):
    """Users come and go, and the worker dies again and again. In the end SQL has each
    session once."""
    choose = random.Random(seed)  # noqa: S311 - for a test
    users = [f"user-{number}-{uuid4().hex[:8]}" for number in range(6)]
    has_ended = False

    def live(user: str) -> list[dict[str, int]]:
        had = []
        while not has_ended:
            had.append(come_and_go(system, user))
            time.sleep(0.05)
        return had

    with ThreadPoolExecutor(len(users)) as threads:
        running = {user: threads.submit(live, user) for user in users}
        for _ in range(kills):
            time.sleep(choose.uniform(1, 4))
            system.processes["worker"].kill()
            system.start_process("worker")
        has_ended = True
        truth = {user: future.result() for user, future in running.items()}
    for user, had in truth.items():
        assert had
        wait_until(has(system, user, had), PATIENCE)


def test_redis_restarts_with_its_data(system, ann):
    """While no worker runs: what was not stored was in the outbox."""
    had = [come_and_go(system, ann)]
    with without_worker(system):
        had.append(come_and_go(system, ann))
        for _ in range(2):
            system.server.kill()
            system.server.start()
        system.wait_ready()
        had.append(come_and_go(system, ann))
    wait_until(has(system, ann, had), PATIENCE)


def test_redis_comes_back_empty(system, ann, bob):
    """`last_seen` is in SQL. Bob's socket stays open, and his session too."""
    system.befriend(ann, bob)
    had = come_and_go(system, ann)
    with Client(system, bob).opened() as of_bob:
        wait_until(lambda: len(sessions(system, bob)) == 1, PATIENCE)
        before = sessions(system, bob)
        wait_until(all_stored(system), PATIENCE)
        system.redis.flushall()
        wait_until(lambda: system.is_online(bob), PATIENCE)
        snapshot = of_bob.expect("presence_snapshot", PATIENCE)
        assert snapshot["statuses"][ann]["last_seen"] == had["end"]
        answer = system.request(
            "GET", f"/api/users/{ann}/status", token=system.token(bob)
        )
        assert answer[1]["data"]["last_seen"] == had["end"]
        body = {"user_ids": [ann], "detail": True}
        found = system.admin("POST", "/online-status", body)["data"]["statuses"]
        assert found[ann]["last_seen"] == had["end"]
        wait_until(
            lambda: (system.redis.hget(f"{UNSTORED}:state", "walk") or "").endswith(
                "s"
            ),
            PATIENCE,
        )
        assert sessions(system, bob) == before
        assert sessions(system, ann) == [had]


def test_the_database_is_locked_for_a_while(system, ann, bob):
    """The queue waits. Everybody is told as always."""

    def complaints() -> int:
        return system.logs().count("are not stored")

    system.befriend(ann, bob)
    file = system.environ["DATABASE_URL"].removeprefix("sqlite:///")
    with Client(system, bob).opened() as of_bob:
        wait_until(all_stored(system), PATIENCE)
        before = complaints()
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            had = [come_and_go(system, ann) for _ in range(2)]
            for state in ("online", "offline") * 2:
                of_bob.expect_change(ann, state)
            wait_until(lambda: complaints() > before, PATIENCE)
            assert system.redis.xlen(UNSTORED) >= 4
            other.execute("ROLLBACK")
        wait_until(has(system, ann, had), PATIENCE)


def test_old_sessions_are_deleted(system, ann):
    had = come_and_go(system, ann)
    wait_until(has(system, ann, [had]), PATIENCE)
    old = had["start"] - 31 * 86_400_000
    file = system.environ["DATABASE_URL"].removeprefix("sqlite:///")
    with without_worker(system):
        with closing(sqlite3.connect(file, timeout=PATIENCE)) as other, other:
            other.executemany(
                "INSERT INTO transitions VALUES (?, ?, ?, ?)",
                [(ann, old, 1, old), (ann, old + 1000, 0, old + 900)],
            )
        assert sessions(system, ann) == [{"start": old, "end": old + 900}, had]
    wait_until(has(system, ann, [had]), PATIENCE)


def test_sessions_are_off(system):
    with system.another_web(PRESENCE_SESSION_DAYS="0") as web:
        status, answer = system.request(
            "GET", "/api/admin/users/ann/sessions", token=SERVICE_KEY, web=web
        )
    assert (status, answer["error"]["code"]) == (409, "sessions_off")
    assert "PRESENCE_SESSION_DAYS" in answer["error"]["message"]


def test_several_shards(own_system_of):
    system = own_system_of(
        PRESENCE_SESSION_DAYS="30",
        PRESENCE_SHARDS="3",
        CELERY_WORKER_CONCURRENCY="5",
    )
    users = [f"user-{number}" for number in range(6)]
    clients = [Client(system, user).opened() for user in users]
    for client in clients:
        client.close()
    for user in users:
        wait_until(
            lambda user=user: (
                [one["end"] is not None for one in sessions(system, user)] == [True]
            ),
            PATIENCE,
        )
