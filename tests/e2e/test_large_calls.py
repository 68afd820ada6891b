"""A call of the host application for a thousand users holds up nobody's socket."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from http.client import HTTPConnection

import psutil
import pytest

from tests.clients import Client
from tests.system import SERVICE_KEY, System, wait_until

pytestmark = pytest.mark.e2e

CROWD = [f"crowd-{number}" for number in range(700)]
"""In one conversation they are a quarter of a million pairs."""
ROOM = "/conversations/the-room"


@pytest.fixture
def crowd(system: System) -> None:
    system.admin("DELETE", ROOM)
    users = [{"id": user_id, "display_name": user_id} for user_id in CROWD]
    stored = system.admin("POST", "/bulk", {"users": users})
    assert stored["data"]["users"] == len(CROWD)


def processes_apart(system: System) -> list[psutil.Process]:
    """Those that serve a large call of the first gateway."""
    children = psutil.Process(system.processes["web0"].pid).children(recursive=True)
    return [child for child in children if "app.api.offload" in child.cmdline()]


@pytest.mark.slow
@pytest.mark.usefixtures("crowd")
def test_heartbeats_are_answered_and_friends_told_while_it_is_served(system):
    system.befriend("l-ann", "l-bob")
    body = {"title": "All of us", "participants": CROWD}
    answers = []
    call = threading.Thread(
        target=lambda: answers.append(
            system.request("PUT", f"/api/admin{ROOM}", body, token=SERVICE_KEY)
        )
    )
    with (
        Client(system, "l-ann", beats=None).opened() as ann,
        Client(system, CROWD[0]).opened() as one,
        Client(system, CROWD[1]).opened(),
    ):
        call.start()
        answered = told = 0
        while call.is_alive():
            ann.send("heartbeat")
            ann.expect("heartbeat_ack")
            answered += call.is_alive()
            with Client(system, "l-bob", beats=None).opened() as bob:
                ann.expect("friend_status_changed")
                bob.send("leave")
                ann.expect("friend_status_changed")
                told += call.is_alive()
            time.sleep(0.1)  # more frames a second would be too many
        assert answered > 1
        assert told > 1
        ((status, answer),) = answers
        assert (status, answer["data"]["title"]) == (201, "All of us")
        assert answer["data"]["participants"] == sorted(CROWD)
        while (news := one.expect("friend_status_changed"))["user_id"] != CROWD[1]:
            assert news["status"] == "offline"
        assert news["status"] == "online"
    shown = system.admin("GET", ROOM)["data"]["participants"]
    assert shown == sorted(CROWD)


@pytest.mark.slow
@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/bulk", {"friendships": [[a, "nobody"] for a in CROWD]}, 409, None),
        ("POST", "/bulk", {"users": [{"id": "x" * 9000}]}, 400, "invalid_id"),
        ("PUT", ROOM, {"participants": [*CROWD[:200], "nobody"]}, 409, "unknown_user"),
        ("DELETE", ROOM, None, 204, None),
    ],
)
def test_it_is_answered_as_a_small_one_is(system, method, path, body, status, code):
    log = system.processes["web0"].log
    before = log.read_text()
    url = f"/api/admin{path}"
    found, answer = system.request(method, url, body, token=SERVICE_KEY)
    assert found == status
    assert code is None or answer["error"]["code"] == code
    wait_until(lambda: not processes_apart(system))
    assert log.read_text() == before, "it had something to say"


@pytest.mark.slow
@pytest.mark.usefixtures("crowd")
def test_a_process_that_dies_is_an_error_and_changes_nothing(system):
    answers = []
    body = {"participants": CROWD}

    def put_room() -> None:
        # The document says only in words that a call may be answered with 500.
        http = HTTPConnection("127.0.0.1", system.web_ports[0], timeout=30)
        with closing(http):
            headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
            http.request("PUT", f"/api/admin{ROOM}", json.dumps(body), headers)
            answers.append(http.getresponse().status)

    call = threading.Thread(target=put_room)
    call.start()
    wait_until(lambda: processes_apart(system))
    for process in processes_apart(system):
        process.kill()
    call.join()
    assert answers == [500]
    assert system.request("GET", f"/api/admin{ROOM}", token=SERVICE_KEY)[0] == 404
    status, _ = system.request("DELETE", f"/api/admin{ROOM}", token=SERVICE_KEY)
    assert status == 204
