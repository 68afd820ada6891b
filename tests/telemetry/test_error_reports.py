"""Error reports of real processes, sent to a receiver in place of Sentry."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.system import JWT_SECRET, SERVICE_KEY, wait_until
from tests.telemetry.receiver import receiving

pytestmark = pytest.mark.e2e


def events_in(receiver):
    """The events in the envelopes that have arrived."""
    found = []
    for path, body in list(receiver.bodies):
        assert path == "/api/1/envelope/"
        _, *items = body.splitlines()
        for header, payload in zip(items[::2], items[1::2], strict=True):
            if json.loads(header)["type"] == "event":
                found.append(json.loads(payload))
    return found


def messages(receiver):
    return {
        error["value"]
        for event in events_in(receiver)
        for error in event.get("exception", {}).get("values", ())
    }


def test_errors_of_a_route_and_of_a_task_arrive_without_secrets(own_system_of):
    with receiving() as receiver:
        system = own_system_of(SENTRY_DSN=f"http://public@{receiver.address}/1")
        token = system.token("ann")
        system.befriend("ann", "bob")
        status, _ = system.request(
            "PATCH", "/api/me/presence", {"text": "busy"}, token=token
        )
        assert status == 200
        # Another program has damaged two rows. The error of each names what it has
        # found: here a token.
        with closing(sqlite3.connect(system.folder / "test.db")) as database, database:
            database.execute(
                "UPDATE presence_settings SET manual_availability = ?", (token,)
            )
            database.execute(
                "INSERT INTO pending_announcements"
                " (id, snapshots, disconnects, created_at)"
                " VALUES ('x', '', '', ?)",
                (token,),
            )
        path = f"/api/me/presence?token={token}"
        system._rest = None  # the document has no answer for bugs
        headers = {"Cookie": f"presence_token={token}", "X-Request-ID": "r-500"}
        status, _ = system.request("GET", path, token=token, headers=headers)
        assert status == 500

        def of(kind):
            return [
                one for one in events_in(receiver) if kind in one.get("transaction", "")
            ]

        wait_until(lambda: of("presence_settings"), 20)
        wait_until(lambda: of("tasks.announcements"), 20)
        written = b"\n".join(body for _, body in receiver.bodies).decode()
        for secret in (token, JWT_SECRET, SERVICE_KEY):
            assert secret not in written
        assert of("presence_settings")[0]["tags"]["request_id"] == "r-500"
        assert messages(receiver) >= {
            "'[hidden]' is not a valid Availability",
            "Invalid isoformat string: '[hidden]'",
        }
