"""The log of real processes: its lines, the ids in them, and no secrets."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from base64 import b64encode
from contextlib import closing, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import Client
from tests.docs.pages import Page
from tests.servers import RedisServer, any_server_command
from tests.system import JWT_SECRET, SERVICE_KEY, wait_until
from tests.telemetry.receiver import receiving

pytestmark = pytest.mark.e2e

PASSWORD = "a-password-of-the-broker"
WEBHOOK_PATH = "/hook/" + secrets.token_hex(16)
WEBHOOK_SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
SECRETS = {JWT_SECRET, SERVICE_KEY, PASSWORD, WEBHOOK_PATH, WEBHOOK_SECRET}
WRONG_KEY = "wrong-service-key-of-somebody-else-0123"
TEXT_LINE = re.compile(
    r"\[20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \+0000\] \[\d+\] "
    r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] \S"
)


OPERATIONS = Page("docs/OPERATIONS.md")
OF_ALL_LINES = {"timestamp", "level", "event", "logger", "process"}


class RedisWithPassword:
    """A Redis that takes any password of the default user: a `store` for `System`."""

    def __init__(self):
        self.broker = RedisServer(any_server_command())
        self.url = f"redis://default:{PASSWORD}@127.0.0.1:{self.broker.port}/0"
        self.broker_url = self.url
        self.start, self.close = self.broker.start, self.broker.close


def lines_of(system, name="*"):
    """The lines of these processes that are JSON, as they are now."""
    return [
        json.loads(line)
        for path in system.folder.glob(f"{name}.log")
        for line in path.read_text().splitlines()
    ]


def ends_of(system, user_id):
    return [
        line
        for line in lines_of(system, "web0")
        if line["event"] == "a connection has ended" and line.get("user_id") == user_id
    ]


@pytest.fixture
def open_system(own_system_of):
    """Starts a Greendot with secrets everywhere."""
    with receiving() as receiver:

        def start(form):
            return own_system_of(
                store=RedisWithPassword(),
                LOG_FORMAT=form,
                LOG_LEVEL="debug",
                GUNICORN_CMD_ARGS="--access-logfile=-",
                PRESENCE_WEBHOOK_URLS=f"http://{receiver.address}{WEBHOOK_PATH}",
                PRESENCE_WEBHOOK_SECRETS=WEBHOOK_SECRET,
                PRESENCE_WEBHOOK_ALLOW_PRIVATE="1",
            )

        yield start


def break_settings(system, user_id, value):
    """Store an availability that cannot be read, as another program might."""
    with closing(sqlite3.connect(system.folder / "test.db")) as database, database:
        database.execute(
            "UPDATE presence_settings SET manual_availability = ? WHERE user_id = ?",
            (value, user_id),
        )


def use_secrets(system):
    """Sign in rightly and wrongly in all ways, make errors, and lose Redis. Returns
    what must not be in the log."""
    system.befriend("ann", "bob")
    token, wrong = system.token("ann"), system.token("ann")[:-6] + "wrongs"
    tickets = [
        system.request("POST", "/api/ws-ticket", token=token)[1]["data"]["ticket"]
        for _ in range(2)
    ]
    used = {token, wrong, *tickets, WRONG_KEY}
    queries = [f"?ticket={tickets[0]}", f"?ticket={tickets[0]}", f"?token={token}"]
    for query in [*queries, f"?ticket={token}", f"?ticket={wrong}"]:
        with Client(system, query=query) as client, suppress(ConnectionClosed):
            client.expect("welcome")
            client.send("refresh", {"token": wrong})
            client.expect("error")
            client.send("leave")
    for given in (token, wrong):
        headers = {"Cookie": f"presence_token={given}"}
        with Client(system, headers=headers) as client, suppress(ConnectionClosed):
            client.expect("welcome")
        path = f"/api/friends/online-status?token={given}"
        system.request("GET", path, token=given)
        system.request("GET", "/api/me/presence", headers={"Referer": path})
    for key in (SERVICE_KEY, WRONG_KEY):
        system.request("GET", f"/api/admin/stats?key={key}", token=key)
    text = {"text": "busy"}
    assert system.request("PATCH", "/api/me/presence", text, token=token)[0] == 200
    break_settings(system, "ann", token)
    path = f"/api/me/presence?access_token={token}"
    system._rest = None  # the document has no answer for bugs
    assert system.request("GET", path, token=token)[0] == 500
    with Client(system, "bob").opened():
        system.server.kill()
        for name in ("web0", "worker", "beat"):
            log = system.processes[name].log
            # Each of them says so within its own time: at its next try, or next minute.
            wait_until(lambda log=log: "refused" in log.read_text(), 120)
    return used


def test_no_process_writes_a_secret_as_text(open_system):
    system = open_system("text")
    used = use_secrets(system)
    written = system.logs()
    assert [one for one in SECRETS | used if one in written] == []
    assert "Exception on /api/me/presence [GET]" in written
    assert "'[hidden]' is not a valid Availability" in written
    assert "path=/api/friends/online-status" in written
    assert "a connection has ended" in written
    in_traceback = False
    for path in system.folder.glob("*.log"):
        for line in path.read_text().splitlines():
            is_whole = TEXT_LINE.match(line)
            in_traceback = line.startswith("Traceback") or (
                in_traceback and not is_whole
            )
            assert is_whole or in_traceback, line


@pytest.mark.slow
def test_no_process_writes_a_secret_as_json(open_system):
    system = open_system("json")
    used = use_secrets(system)
    written = system.logs()
    assert [one for one in SECRETS | used if one in written] == []
    system.close()
    lines = lines_of(system)  # all of them are JSON
    events = {one["event"] for one in lines}
    assert {"beat has started. Sweeps run every 1 s", "Shutting down: Master"} <= events
    assert "worker: Warm shutdown (MainProcess)" in events
    assert all({"timestamp", "level", "event", "logger"} <= one.keys() for one in lines)
    (failed,) = [one for one in lines if "Exception on" in one["event"]]
    assert failed["level"] == "error"
    assert "'[hidden]' is not a valid Availability" in failed["exception"]
    requests = [one for one in lines if one["logger"] == "gunicorn.access"]
    assert {one["path"] for one in requests} >= {"/api/me/presence", "/readyz"}
    assert "500" in {str(one["code"]) for one in requests}
    *_, example = OPERATIONS.blocks("log")
    fields = re.findall(r" (\w+)=", example.text)
    asked = next(one for one in requests if "agent" in one)
    assert set(fields) == asked.keys() - OF_ALL_LINES


def test_a_connection_writes_one_line_at_its_end(own_system_of):
    system = own_system_of(LOG_FORMAT="json")
    system.befriend("ann", "bob")
    with Client(system, "ann", beats=None, headers={"X-Request-ID": "r-1"}) as ann:
        assert ann.socket.response.headers["X-Request-ID"] == "r-1"
        connection_id = ann.expect("welcome")["connection_id"]
        ann.send("heartbeat")
        ann.expect("heartbeat_ack")
        ann.send("leave")
        assert ann.expect_close() == 1000
    wait_until(lambda: ends_of(system, "ann"))
    (line,) = ends_of(system, "ann")
    assert line["level"] == "info"
    assert line["connection_id"] == connection_id
    assert connection_id.startswith(line["gateway"])
    assert (line["code"], line["reason"]) == (1000, "goodbye")
    assert (line["frames"], line["heartbeats"]) == (2, 1)
    assert 0 < line["seconds"] < 60
    assert line["request_id"] == "r-1"
    # The example of the documentation
    assert line.keys() == json.loads(OPERATIONS.blocks("log")[1].text).keys()

    with Client(system, "bob") as bob:
        bob.expect("welcome")
        bob.socket.close(4000, "the client's own")
    with Client(system, "bob") as bob:
        bob.expect("welcome")
        bob.socket.socket.close()
    wait_until(lambda: len(ends_of(system, "bob")) == 2)
    closed, lost = ends_of(system, "bob")
    assert (closed["code"], closed["reason"]) == (4000, "client")
    assert lost["reason"] == "lost"
    assert "code" not in lost

    with Client(system, token="wrong", headers={"X-Request-ID": "a b"}) as refused:
        made = refused.socket.response.headers["X-Request-ID"]
        assert len(made) == 16
        refused.expect_close()

    def ends():
        lines = lines_of(system, "web0")
        return [one for one in lines if one.get("request_id") == made]

    wait_until(ends)
    (line,) = ends()
    assert line["code"] == 4401
    assert "user_id" not in line


def test_an_id_follows_a_change_from_the_request_to_the_delivery(own_system_of):
    # The gateway ends the grace and knows the id. A sweep that came first would not.
    system = own_system_of(
        LOG_FORMAT="json", LOG_LEVEL="debug", PRESENCE_SWEEP_INTERVAL="60"
    )
    system.befriend("ann", "bob")

    def lines(name, event, request_id):
        return [
            line
            for line in lines_of(system, name)
            if line["event"] == event and line.get("request_id") == request_id
        ]

    with Client(system, "bob").opened() as bob:
        with Client(system, "ann", headers={"X-Request-ID": "come"}) as ann:
            change = "ann@" + str(bob.expect_change("ann", "online")["timestamp"])
            wait_until(lambda: lines("web0", "a change was delivered", "come"))
            # The worker writes its line after it has sent the change.
            wait_until(lambda: lines("worker", "a change was broadcast", "come"))
            # So does the gateway, after Redis has answered.
            wait_until(lambda: lines("web0", "a user came online", "come"))
            (came,) = lines("web0", "a user came online", "come")
            (sent,) = lines("worker", "a change was broadcast", "come")
            (told,) = lines("web0", "a change was delivered", "come")
            example = OPERATIONS.blocks("log")[2].text.splitlines()
            for step, shown in zip((came, sent, told), example, strict=True):
                assert f" [DEBUG] {step['event']} change=" in shown
                fields = re.findall(r" (\w+)=", shown)
                assert fields == [one for one in step if one not in OF_ALL_LINES]
            assert {came["change"], sent["change"], told["change"]} == {change}
            assert (told["viewer"], told["status"]) == ("bob", "online")
            status, _ = system.request(
                "PATCH",
                "/api/me/presence",
                {"availability": "dnd"},
                token=system.token("ann"),
                headers={"X-Request-ID": "patch"},
            )
            assert status == 200
            wait_until(lambda: lines("worker", "a change was broadcast", "patch"))
            ann.expect("welcome")
        bob.expect_change("ann", "offline")
        wait_until(lambda: len(lines("web0", "a change was delivered", "come")) == 2)
        wait_until(lambda: len(lines("worker", "a change was broadcast", "come")) == 2)
