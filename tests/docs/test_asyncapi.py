"""docs/asyncapi.yaml is valid, and describes the frames of a running server, and no
others."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from config import PROJECT_ROOT
from models.events import RETRY, ClientEvent, CloseCode, ServerEvent
from tests.browser.needed import node_modules
from tests.clients import Client
from tests.frames_document import check_frame, document, messages, validator
from tests.system import System

NPM = Path(__file__).parent / "asyncapi"


def name(user: str) -> str:
    """A user of this very test."""
    return f"{user}-{os.urandom(4).hex()}"


def test_it_is_a_valid_asyncapi_document():
    schemas = node_modules(NPM) / "@asyncapi" / "specs" / "schemas"
    schema = json.loads((schemas / f"{document()['asyncapi']}.json").read_text("utf-8"))
    jsonschema_rs.validator_for(schema).validate(document())


def test_its_version_is_that_of_greendot():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))
    assert document()["info"]["version"] == project["project"]["version"]


def test_it_has_all_events_and_no_others():
    assert messages("receive").keys() == set(ClientEvent)
    assert messages("send").keys() == set(ServerEvent)
    components = document()["components"]["messages"]
    assert components.keys() == {*ClientEvent, *ServerEvent}
    assert document()["channels"]["socket"]["messages"].keys() == components.keys()
    for key, message in components.items():
        assert message["name"] == key
        assert message["payload"]["properties"]["event"] == {"const": key}


def test_it_has_the_close_codes_and_says_when_to_reconnect():
    found = document()["channels"]["socket"]["x-close-codes"]
    assert [(one["code"], one["name"]) for one in found] == [
        (int(code), code.name) for code in CloseCode
    ]
    assert {one["code"] for one in found if one["reconnect"]} == set(RETRY)
    assert all(one["description"].endswith(".") for one in found)


def test_every_example_is_right():
    for key, message in document()["components"]["messages"].items():
        assert message["examples"], key
        for example in message["examples"]:
            validator(key).validate(example["payload"])


def record_friend(system: System, query: str) -> list[dict]:
    """The frames of a client whose friend comes, changes and goes, and whose own
    settings change."""
    ada, grace = name("ada"), name("grace")
    system.befriend(ada, grace)
    with Client(system, ada, beats=None, query=query).opened() as client:
        with Client(system, grace, web=1).opened() as friend:
            client.expect_change(grace, "online")
            if query:
                friend.send("activity", {"idle": True})
                client.expect("friend_detail_changed")
            settings = {"text": "On a call", "exceptions": {"never": [grace]}}
            token = system.token(ada)
            status, _ = system.request(
                "PATCH", "/api/me/presence", settings, token=token
            )
            assert status == 200
            client.expect("presence_settings_changed")
            friend.send("leave")
        client.expect_change(grace, "offline")
        return client.seen


def record_answers(system: System) -> list[dict]:
    """The frames of a client that sends all events, and whose token ends."""
    ada = name("ada")
    with Client(system, token=system.token(ada, lifetime=50), beats=None) as client:
        client.expect("token_expiring")
        for key, message in messages("receive").items():
            for example in message["examples"]:
                frame = example["payload"]
                if key == ClientEvent.REFRESH:
                    frame = {"event": key, "data": {"token": system.token(ada)}}
                if key != ClientEvent.LEAVE:
                    client.socket.send(json.dumps(frame))
        client.expect("heartbeat_ack")
        client.expect("token_refreshed")
        assert all(frame["event"] != ServerEvent.ERROR for frame in client.seen)
        for wrong in ("hello", '{"event": "typing"}', '{"event": "activity"}'):
            client.socket.send(wrong)
            client.expect("error")
        client.send("refresh", {"token": "not a token"})
        assert client.expect("error")["code"] == "bad_token"
        client.socket.send(
            json.dumps(messages("receive")["leave"]["examples"][0]["payload"])
        )
        assert client.expect_close() == CloseCode.NORMAL
        return client.seen


def record_restart(system: System, web: int) -> list[dict]:
    with Client(system, name("ada"), web=web, beats=None).opened() as client:
        system.processes[f"web{web}"].ask_to_stop()
        client.expect("going_away")
        return client.seen


@pytest.mark.e2e
def test_it_describes_each_frame_that_a_server_sends(system: System, own_web: int):
    plain = record_friend(system, "")
    recorded = [
        *plain,
        *record_friend(system, "?detail=1"),
        *record_answers(system),
        *record_restart(system, own_web),
    ]
    for frame in recorded:
        check_frame(frame)
    assert {frame["event"] for frame in recorded} == messages("send").keys()
    for frame in plain:  # only clients that ask for details get them
        if frame["event"] != ServerEvent.PRESENCE_SETTINGS_CHANGED:
            assert "detail" not in json.dumps(frame["data"])


def test_a_frame_that_is_not_described_is_noticed():
    good = {"event": "heartbeat_ack", "data": {"timestamp": 1}}
    check_frame(good)
    for bad in (
        {"event": "typing", "data": {}},
        {"event": "heartbeat_ack", "data": {}},
        {"event": "heartbeat_ack", "data": {"timestamp": "1"}},
        {"event": "heartbeat_ack", "data": {"timestamp": 1, "colour": "red"}},
        good | {"more": 1},
    ):
        with pytest.raises(AssertionError):
            check_frame(bad)
