"""docs/PROTOCOL.md is true: its examples are played against a running Greendot."""

from __future__ import annotations

import json
import os
from contextlib import closing
from http.client import HTTPConnection

import pytest

from models.events import RETRY, ClientEvent, CloseCode, ServerEvent
from models.presence.tickets import TICKET_TTL
from tests.clients import Client
from tests.docs.pages import Block, Page, code
from tests.system import SERVICE_KEY, System, wait_until

PAGE = Page("docs/PROTOCOL.md")


def shape(value: object) -> object:
    """Keys and types, without the values. Of a map of statuses: which kinds of entry
    it has, whoever they are of."""
    if isinstance(value, dict):
        if "statuses" in value:
            kinds = {
                (entry["status"], json.dumps(shape(entry)))
                for entry in value["statuses"].values()
            }
            return {key: sorted(kinds) for key in value}
        return {key: shape(item) for key, item in value.items()}
    return type(value).__name__


def example(event: str) -> dict:
    (frame,) = [
        frame
        for frame in (json.loads(block.text) for block in PAGE.blocks("server"))
        if frame["event"] == event
    ]
    return frame


def assert_as_shown(frame: dict) -> None:
    assert shape(frame) == shape(example(frame["event"]))


def name(user: str) -> str:
    """A user of this very test."""
    return f"{user}-{os.urandom(4).hex()}"


def label(block: Block) -> str:
    return block.text.strip()[:60]


def test_every_event_has_an_example_and_no_other():
    shown = [json.loads(block.text)["event"] for block in PAGE.blocks("server")]
    assert sorted(shown) == sorted(ServerEvent)
    good = {
        json.loads(block.text)["event"]
        for block in PAGE.blocks("client")
        if not block.options.get("answer", "").startswith("error")
    }
    assert good == set(ClientEvent)


@pytest.mark.e2e
def test_what_the_server_sends_looks_like_the_examples(system: System):
    ada, grace, alan, linus = map(name, ("ada", "grace", "alan", "linus"))
    system.befriend(ada, grace, alan, linus)
    with Client(system, grace, web=1).opened() as other:
        with Client(system, alan).opened() as goes:
            goes.send("leave")
            assert goes.expect_close() == CloseCode.NORMAL
        wait_until(lambda: not system.is_online(alan))
        with Client(system, ada, beats=None) as client:
            welcome, snapshot = client.receive(), client.receive()
            assert_as_shown(welcome)
            assert welcome["event"] == ServerEvent.WELCOME
            assert_as_shown(snapshot)
            assert snapshot["event"] == ServerEvent.PRESENCE_SNAPSHOT
            other.send("leave")
            change = client.receive()
            assert_as_shown(change)
            assert change["event"] == ServerEvent.FRIEND_STATUS_CHANGED
            assert change["data"]["status"] in {"online", "offline"}


@pytest.mark.e2e
def test_a_client_that_asks_for_details_gets_frames_like_the_examples(system: System):
    examples = {
        frame["event"]: shape(frame)
        for frame in (json.loads(block.text) for block in PAGE.blocks("detail"))
    }
    ada, grace, alan, linus = map(name, ("ada", "grace", "alan", "linus"))
    system.befriend(ada, grace, alan, linus)
    with Client(system, alan).opened() as goes:
        goes.send("leave")
        goes.expect_close()
    wait_until(lambda: not system.is_online(alan))
    with (
        Client(system, grace, web=1).opened() as other,
        Client(system, ada, beats=None, query="?detail=1") as client,
    ):
        for event in ("welcome", "presence_snapshot"):
            frame = client.receive()
            assert (frame["event"], shape(frame)) == (event, examples.pop(event))
        with Client(system, alan).opened():
            frame = client.receive()
            event = "friend_status_changed"
            assert (frame["event"], shape(frame)) == (event, examples.pop(event))
        other.send("activity", {"idle": True})
        data = client.expect("friend_detail_changed")
        shown = example("friend_detail_changed")["data"]
        assert data.keys() == shown.keys()
        assert data["detail"].keys() == shown["detail"].keys()
        assert not examples


@pytest.mark.e2e
@pytest.mark.parametrize("block", PAGE.blocks("client"), ids=label)
def test_what_a_client_sends_is_answered_as_said(system: System, block: Block):
    ada = name("ada")
    with Client(system, ada, beats=None).opened() as client:
        client.socket.send(block.text.strip().replace("TOKEN", system.token(ada)))
        if "close" in block.options:
            assert client.expect_close() == int(block.options["close"])
            return
        if block.options["answer"] == "none":
            client.send("heartbeat")
            assert client.receive()["event"] == "heartbeat_ack"
            return
        event, _, error_code = block.options["answer"].partition(":")
        frame = client.receive()
        assert frame["event"] == event
        assert_as_shown(frame)
        if error_code:
            assert frame["data"]["code"] == error_code
            assert error_code in {code(row[0]) for row in PAGE.table("`code`", "when")}
        if frame["data"].get("code") == example("error")["data"]["code"]:
            assert frame == example("error")
        # The socket is open, whatever was sent.
        client.send("heartbeat")
        client.expect("heartbeat_ack")


@pytest.mark.e2e
def test_an_expiring_token_is_announced_as_shown(system: System):
    token = system.token(name("ada"), lifetime=30)
    with Client(system, token=token, beats=None) as client:
        assert client.receive()["event"] == ServerEvent.WELCOME
        frame = client.receive()
        assert_as_shown(frame)
        assert frame["event"] == ServerEvent.TOKEN_EXPIRING


@pytest.mark.e2e
def test_a_planned_restart_is_announced_as_shown(system: System, own_web: int):
    with Client(system, name("ada"), web=own_web, beats=None).opened() as client:
        system.processes[f"web{own_web}"].ask_to_stop()
        frame = client.receive()
        assert_as_shown(frame)
        assert frame["event"] == ServerEvent.GOING_AWAY
        assert client.expect_close() == CloseCode.RESTART


@pytest.mark.e2e
def test_a_ticket_is_good_for_as_long_as_said(system: System):
    _, answer = system.request("POST", "/api/ws-ticket", token=system.token(name("a")))
    assert answer["data"]["expires_in"] == TICKET_TTL
    assert f"for {TICKET_TTL} seconds" in PAGE.text


def test_the_close_codes_are_those_of_the_code():
    table = PAGE.table("code", "name", "meaning", "reconnect?")
    assert [(int(row[0]), row[1]) for row in table] == [
        (int(close), close.name) for close in CloseCode
    ]
    comes_back = {int(row[0]) for row in table if row[3].startswith("yes")}
    assert comes_back == set(RETRY)
    assert all(row[3].startswith(("yes", "no")) for row in table)


def half_a_handshake(system: System, **headers: str) -> tuple[int, dict]:
    with closing(HTTPConnection("127.0.0.1", system.web_ports[0], timeout=10)) as http:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        http.request("GET", "/ws", headers=upgrade | headers)
        answer = http.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.e2e
def test_rest_refuses_with_the_status_and_code_of_the_table(system: System):
    ada, linus = name("ada"), name("linus")
    system.admin("PUT", f"/users/{linus}", {"display_name": "Linus"})
    talk = name("talk")
    talking = {"title": "Talk", "participants": [linus]}
    system.admin("PUT", f"/conversations/{talk}", talking)
    user, service = system.token(ada), SERVICE_KEY
    path = f"/api/admin/users/{ada}"
    nobody = f"/api/admin/friendships/{ada}/{name('nobody')}"
    calls = [
        system.request("PUT", path, {"display_name": 7}, token=service),
        system.request("GET", "/api/users/a%20b/status", token=user),
        half_a_handshake(system),
        half_a_handshake(system, **{"Sec-WebSocket-Version": "8"}),
        system.request("GET", "/api/friends/online-status"),
        system.request("PUT", path, {"display_name": "Ada"}, token=user),
        system.request("GET", f"/api/users/{linus}/status", token=user),
        system.request("GET", f"/api/conversations/{talk}/online-status", token=user),
        system.request("GET", "/api/conversations/none/online-status", token=user),
        system.request("PUT", nobody, {"status": "accepted"}, token=service),
        system.request("PUT", path, {"display_name": "x" * 300_000}, token=service),
        system.request("GET", f"{path}/sessions", token=service),
        system.request("GET", f"{path}?{5000 * 'x'}", token=service),
        system.request("GET", path, token=service, headers={"X-Long": 9000 * "x"}),
    ]
    got = {(status, answer["error"]["code"]) for status, answer in calls}
    said = {
        (int(row[0]), error_code)
        for row in PAGE.table("status", "`code`", "when")
        for error_code in row[1].replace("`", "").split(", ")
    }
    # A fault or another setting makes these; their own tests show them.
    elsewhere = {
        (403, "admin_closed"),
        (403, "foreign_origin"),
        (403, "not_allowed"),
        (503, "gateway_full"),
        (503, "older_version_running"),
        (429, "too_many_requests"),
        (503, "tokens_unavailable"),
        (503, "presence_unavailable"),
        (503, "database_unavailable"),
    }
    assert got == said - elsewhere
