"""A database that is locked, accepts no writes or is behind a pooler harms only users
who need it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from models.sql.audience import relevant_users
from models.sql.db import make_engine
from tests.clients import Client
from tests.databases import PostgresqlServer, alembic_config, empty_postgresql
from tests.figures import scrape
from tests.needs import missing
from tests.servers import free_port
from tests.system import SERVICE_KEY, System, wait_until

pytestmark = pytest.mark.e2e

CUT_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid != pg_backend_pid()"
)


def put_user(system: System, user_id: str) -> tuple[int, str | None]:
    """Status and code of a write by the host application."""
    path = f"/api/admin/users/{user_id}"
    body = {"display_name": user_id}
    status, answer = system.request("PUT", path, body, token=SERVICE_KEY)
    return status, (answer or {}).get("error", {}).get("code")


def readiness(system: System) -> tuple[int, str]:
    """What /readyz says of the database: its status and the reason."""
    status, answer = system.request("GET", "/readyz")
    return status, (answer or {}).get("reasons", {}).get("database", "")


def is_stored(system: System, user_id: str) -> bool:
    path = f"/api/admin/users/{user_id}"
    return system.request("GET", path, token=SERVICE_KEY)[0] == 200


def assert_that_everybody_is_served(system: System, name: str) -> None:
    """While the database accepts no writes: known users and unknown ones."""
    with Client(system, f"stranger-{name}") as stranger:
        with Client(system, "ann") as ann:
            snapshot = ann.expect("presence_snapshot")
            assert set(snapshot["statuses"]) == {"bob"}
        assert stranger.expect("presence_snapshot") == {"statuses": {}}
    token = system.token(f"caller-{name}")
    found = system.request("GET", "/api/friends/online-status", token=token)
    assert found == (200, {"data": {"statuses": {}}})


def assert_that_strangers_are_stored(system: System, name: str) -> None:
    """Once it accepts writes again."""
    for user_id in (f"stranger-{name}", f"caller-{name}"):
        wait_until(lambda user_id=user_id: is_stored(system, user_id), 30)


def assert_that_web_and_worker_lack_the_database(system: System, client: Client):
    """They say so. Heartbeats are acknowledged as before, and the socket stays open."""
    outages = "greendot_database_outages_total:end_due"
    before = scrape(system)
    wait_until(lambda: scrape(system)["greendot_database_up"] == 0, 30)
    wait_until(lambda: scrape(system)[outages] > before[outages], 60)
    client.send("heartbeat")
    client.expect("heartbeat_ack", patience=3)
    figures = scrape(system)
    assert figures["greendot_redis_up"] == 1
    assert figures["greendot_outbox"] <= 500, "the other alerts say nothing"
    assert figures["greendot_task_failures_total:end_due"] == 0


def assert_that_web_and_worker_have_the_database(system: System):
    wait_until(lambda: scrape(system)["greendot_database_up"] == 1, 60)
    ended = "greendot_task_seconds_count:end_due"
    outages = "greendot_database_outages_total:end_due"

    def succeeds() -> bool:
        """Whether two tasks end, and none of them lacks the database."""
        before = scrape(system)
        wait_until(lambda: scrape(system)[ended] >= before[ended] + 2, 60)
        return scrape(system)[outages] == before[outages]

    wait_until(succeeds, 60)


# SQLite


@contextmanager
def locked(system: System) -> Iterator[None]:
    """Another process writes, and takes its time."""
    file = make_url(system.environ["DATABASE_URL"]).database
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")


def test_a_locked_database_stops_no_heartbeat(own_system_of):
    system = own_system_of()
    system.befriend("ann", "bob")
    with (
        Client(system, "ann", beats=None).opened() as ann,
        Client(system, "bob").opened(),
        ThreadPoolExecutor(8) as calls,
    ):
        ann.expect_change("bob", "online")
        with locked(system):
            writes = [calls.submit(put_user, system, f"new-{n}") for n in range(6)]
            served = calls.submit(assert_that_everybody_is_served, system, "locked")
            ready = calls.submit(
                wait_until, lambda: readiness(system)[0] == 503, every=0.5
            )
            under_way: list[Future[object]] = [*writes, served, ready]
            acks = 0
            while not all(one.done() for one in under_way):
                ann.send("heartbeat")
                ann.expect("heartbeat_ack", patience=3)
                acks += 1
                time.sleep(0.1)  # more frames a second would be too many
            assert acks > 5
            served.result()
            for write in writes:
                assert write.result() == (503, "database_unavailable")
            ready.result()
            assert readiness(system)[1] in {"no answer in 2 s", "database is locked"}
        wait_until(lambda: readiness(system)[0] == 200, 30)
        assert put_user(system, "new-0") == (201, None)
        assert_that_strangers_are_stored(system, "locked")
    assert "Traceback" not in system.logs()
    changes = [one for one in ann.seen if one["event"] == "friend_status_changed"]
    assert len(changes) == 1  # bob's first


def is_moved(source: Path, target: Path) -> bool:
    """Move a folder. A process that has started meanwhile may have made `target`."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        source.rename(target)
    except OSError:
        return False
    return True


# Slow, because it fails now and then: a process that makes its engine meanwhile makes
# the folder anew, with an empty file. Its log then has a traceback: there is no table.
@pytest.mark.slow
def test_a_file_that_is_gone_is_seen_in_the_metrics(own_system_of, tmp_path: Path):
    folder = tmp_path / "disk"
    folder.mkdir()
    system = own_system_of(database_url=f"sqlite:///{folder / 'test.db'}")
    assert scrape(system)["greendot_database_up"] == 1
    with Client(system, "ann").opened() as ann:
        folder.rename(tmp_path / "taken out")
        assert_that_web_and_worker_lack_the_database(system, ann)
        wait_until(lambda: is_moved(tmp_path / "taken out", folder), 10)
        assert_that_web_and_worker_have_the_database(system)
    assert "Traceback" not in system.logs()


# PostgreSQL


@pytest.fixture
def postgresql() -> Iterator[PostgresqlServer]:
    """A server that a test may stop."""
    with closing(PostgresqlServer()) as server:
        yield server


@pytest.mark.slow
def test_a_database_that_is_stopped_is_seen_in_the_metrics(own_system_of, postgresql):
    system = own_system_of(database_url=postgresql.url)
    assert scrape(system)["greendot_database_up"] == 1
    with Client(system, "ann").opened() as ann:
        postgresql.stop()
        assert_that_web_and_worker_lack_the_database(system, ann)
        assert "/metrics asks the database: " in system.logs()
        postgresql.start()
        assert_that_web_and_worker_have_the_database(system)
    assert "Traceback" not in system.logs()


@pytest.mark.slow
def test_a_database_that_stands_still_delays_no_scrape(own_system_of, postgresql):
    system = own_system_of(database_url=postgresql.url)
    with Client(system, "ann").opened() as ann:
        postgresql.freeze()
        try:
            assert_that_web_and_worker_lack_the_database(system, ann)
            assert "/metrics asks the database: no answer in 2 s" in system.logs()
        finally:
            postgresql.thaw()
        assert_that_web_and_worker_have_the_database(system)
    assert "Traceback" not in system.logs()


@pytest.fixture
def superuser() -> Iterator[Engine]:
    """An empty PostgreSQL, as its superuser has it."""
    with empty_postgresql() as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()


def make_read_only(superuser: Engine) -> None:
    """As a managed database does it. Connections that are open are cut, since each
    keeps what held when it was made."""
    with superuser.connect() as connection:
        name = connection.engine.url.database
        for statement in (
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            CUT_ALL,
        ):
            connection.execute(text(statement))


def assert_that_a_waiting_query_stops_no_heartbeat(system: System, superuser: Engine):
    with superuser.connect() as other:
        other.execute(text("BEGIN"))
        other.execute(text("LOCK TABLE friendships IN ACCESS EXCLUSIVE MODE"))
        client = Client(system, "ann", beats=None)
        client.expect("welcome")
        for _ in range(10):
            client.send("heartbeat")
            client.expect("heartbeat_ack", patience=3)
        assert "presence_snapshot" not in {frame["event"] for frame in client.seen}
        other.execute(text("ROLLBACK"))
        client.opened().close()


@pytest.mark.slow
def test_a_database_that_takes_no_writes_holds_up_no_snapshot(own_system_of, superuser):
    url = superuser.url.render_as_string(hide_password=False)
    system = own_system_of(database_url=url)
    system.befriend("ann", "bob")
    with Client(system, "ann").opened() as ann:
        assert_that_a_waiting_query_stops_no_heartbeat(system, superuser)
        make_read_only(superuser)
        wait_until(lambda: readiness(system)[0] == 503, 30)
        assert "read-only" in readiness(system)[1]
        for number in range(6):  # on each connection of the pool
            assert put_user(system, f"new-{number}") == (503, "database_unavailable")
        assert_that_everybody_is_served(system, "read-only")
        with Client(system, "bob").opened():
            ann.expect_change("bob", "online")
        # Connections that are open now stay open when it accepts writes again.
        with superuser.connect() as connection:
            name = superuser.url.database
            connection.execute(
                text(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            )
        wait_until(lambda: readiness(system)[0] == 200, 30)
        for number in range(6):
            assert put_user(system, f"new-{number}") == (201, None)
        assert_that_strangers_are_stored(system, "read-only")
    assert "Traceback" not in system.logs()


# PgBouncer


@pytest.fixture
def pooled(superuser: Engine, tmp_path: Path) -> Iterator[str]:
    """The URL of a PgBouncer in transaction mode with four connections."""
    binary = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if binary is None:
        missing("pgbouncer", "PGBOUNCER")
    server, port = superuser.url, free_port()
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        "[databases]\n"
        f"{server.database} = host={server.query['host']} user={server.username}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
    )
    # It refuses to run as root, and the server's socket is for its own user.
    user = ("-u", Path(server.query["host"]).owner()) if os.geteuid() == 0 else ()
    log = tmp_path / "pgbouncer.log"
    with log.open("wb") as out:
        process = subprocess.Popen([binary, *user, config], stdout=out, stderr=out)
    try:
        url = URL.create(
            "postgresql+psycopg",
            server.username,
            host="127.0.0.1",
            port=port,
            database=server.database,
        ).render_as_string(hide_password=False)
        engine = make_engine(url)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                engine.connect().close()
            except OperationalError:
                return False
            return True

        wait_until(answers, 30)
        engine.dispose()
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
def test_behind_a_pooler_all_works_for_many_users(own_system_of, pooled):
    people = [f"p{number}" for number in range(30)]
    system = own_system_of(webs=2, database_url=pooled)
    system.befriend("hub", *people)
    with Client(system, "hub").opened() as hub:
        for number, user_id in enumerate(people):
            with Client(system, user_id, web=number % 2) as client:
                client.opened()
                hub.expect_change(user_id, "online")
                client.send("leave")
                hub.expect_change(user_id, "offline")
    for number in range(12):  # a statement is prepared after the fifth time
        for web in (0, 1):
            token = system.token(people[number])
            path = "/api/friends/online-status"
            status, answer = system.request("GET", path, token=token, web=web)
            assert (status, set(answer["data"]["statuses"])) == (200, {"hub"})
        room = f"/conversations/room-{number}"
        system.admin("PUT", room, {"title": "", "participants": people[:3]})
        assert system.admin("GET", room)["data"]["participants"] == people[:3]
        system.admin("DELETE", f"/friendships/hub/{people[number]}")
    assert readiness(system) == (200, "")
    assert "prepared statement" not in system.logs()


def test_statements_are_prepared_where_no_pooler_is_between(superuser, pooled):
    def prepared(url: str) -> int:
        engine = make_engine(url)
        with engine.connect() as connection:
            for _ in range(10):
                relevant_users(connection, ["ann"])
            count = text("SELECT count(*) FROM pg_prepared_statements")
            found = connection.scalar(count)
        engine.dispose()
        return found

    url = superuser.url.render_as_string(hide_password=False)
    command.upgrade(alembic_config(url), "head")
    assert prepared(url) > 0
    assert prepared(pooled) == 0
