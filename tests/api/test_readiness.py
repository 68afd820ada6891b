"""/readyz: 200 only while Redis and the database accept writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import gevent
import pytest
import redis

from app.api import health
from app.factory import create_app
from config import Settings
from tests.databases import sqlite_file
from tests.servers import RedisServer, any_server_command

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server():
    server = RedisServer(any_server_command())
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(server):
    with closing(redis.Redis(port=server.port, decode_responses=True)) as client:
        yield client


@pytest.fixture
def file(tmp_path) -> Path:
    return sqlite_file(tmp_path)


@pytest.fixture
def app(server, file):
    environ = {
        "DATABASE_URL": f"sqlite:///{file}",
        "REDIS_URL": server.url,
        "PRESENCE_JWT_SECRET": "s" * 32,
    }
    return create_app(Settings.from_env(environ))


@pytest.fixture
def probe(app, monkeypatch):
    """Asks anew each time: the status, and the reasons."""
    monkeypatch.setattr(health, "GOOD_FOR", 0.0)

    def ask():
        answer = app.test_client().get("/readyz")
        checks = answer.json["checks"]
        assert {name for name, good in checks.items() if not good} == set(
            answer.json.get("reasons", {})
        )
        return answer.status_code, answer.json.get("reasons", {})

    return ask


@pytest.mark.parametrize(
    ("hurt", "heal", "says"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "replicas",
        ),
        ("ACL SETUSER default -set", "ACL SETUSER default +@all", "permissions"),
    ],
)
def test_a_redis_that_takes_no_writes(client, probe, hurt, heal, says):
    assert probe() == (200, {})
    client.execute_command(*hurt.split())
    try:
        status, reasons = probe()
    finally:
        client.execute_command(*heal.split())
    assert (status, set(reasons)) == (503, {"redis"})
    assert says in reasons["redis"]
    assert probe() == (200, {})


def test_a_locked_database_is_ready_if_the_lock_is_short(file, probe, monkeypatch):
    assert probe() == (200, {})
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        gevent.spawn_later(0.2, writer.execute, "ROLLBACK")
        assert probe() == (200, {})
        writer.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(health, "MAX_WAIT", 0.2)
        status, reasons = probe()
        writer.execute("ROLLBACK")
    assert (status, set(reasons)) == (503, {"database"})
    monkeypatch.undo()
    with gevent.Timeout(10):
        while probe()[0] != 200:
            gevent.sleep(0.05)


def test_probes_of_one_second_share_an_answer(client, app, probe, monkeypatch):
    def sets():
        return client.info("commandstats")["cmdstat_set"]["calls"]

    probe()
    before = sets()
    for _ in range(2):
        probe()
    assert sets() == before + 2
    monkeypatch.setattr(health, "GOOD_FOR", 60.0)
    probes = [gevent.spawn(app.test_client().get, "/readyz") for _ in range(20)]
    gevent.joinall(probes, raise_error=True)
    assert {one.value.status_code for one in probes} == {200}
    assert sets() == before + 2


def test_a_lasting_reason_is_logged_once(client, probe, caplog):
    client.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        for _ in range(3):
            assert probe()[0] == 503
    finally:
        client.execute_command("CONFIG", "SET", "maxmemory", "0")
    assert probe() == (200, {})
    said = [one for one in caplog.messages if one.startswith("not ready")]
    assert len(said) == 2
    assert "works again" in said[1]
