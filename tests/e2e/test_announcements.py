"""Changes of the graph while Redis is away, and changes whose process died before it
told of them: all are told when Redis is back, and no row is left."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import func, select

from models.sql import pending_announcements
from models.sql.db import make_engine, session_factory
from models.sql.graph import delete_friendship
from models.sql.pending_announcements import announcement_table
from tests.clients import Client
from tests.system import System, wait_until

pytestmark = pytest.mark.e2e

PATIENCE = 60.0


def rows(system: System) -> int:
    engine = make_engine(system.environ["DATABASE_URL"])
    with engine.connect() as reader:
        count = reader.scalar(select(func.count()).select_from(announcement_table))
    engine.dispose()
    return count or 0


def expect_friends(client: Client, *friends: str) -> None:
    """Wait for a snapshot of exactly these, all of them online."""
    wanted = dict.fromkeys(friends, "online")
    seen: list[Any] = []
    while not seen or seen[-1] != wanted:
        statuses = client.expect("presence_snapshot", PATIENCE)["statuses"]
        seen.append({key: of["status"] for key, of in statuses.items()})


def test_what_is_changed_while_redis_is_away_is_told_when_it_is_back(
    own_system: System,
):
    system = own_system
    system.befriend("ann", "bob", "dan")
    system.befriend("eve", "fay")
    system.admin("PUT", "/users/cid", {"display_name": "Cid"})
    with ExitStack() as stack:
        ann, bob, cid, dan, eve, fay = (
            stack.enter_context(Client(system, name, web=number % 2).opened())
            for number, name in enumerate(("ann", "bob", "cid", "dan", "eve", "fay"))
        )
        system.server.kill()

        assert system.admin("DELETE", "/users/bob") is None
        accepted = {"status": "accepted"}
        system.admin("PUT", "/friendships/ann/cid", accepted)
        system.admin("DELETE", "/friendships/ann/dan")
        system.admin("PUT", "/conversations/talk", {"participants": ["cid", "dan"]})
        talk = {"id": "more", "participants": ["dan", "eve"]}
        system.admin("POST", "/bulk", {"conversations": [talk]})
        system.admin("DELETE", "/friendships/eve/fay")
        assert rows(system) == 6
        status, _ = system.request(
            "POST",
            "/api/admin/users/ann/disconnect",
            token=system.environ["PRESENCE_SERVICE_KEY"],
        )
        assert status == 503

        system.server.start()
        assert bob.expect_close(PATIENCE) == 4403
        expect_friends(ann, "cid")
        expect_friends(cid, "ann", "dan")
        expect_friends(dan, "cid", "eve")
        expect_friends(eve, "dan")
        expect_friends(fay)
        wait_until(lambda: rows(system) == 0, PATIENCE)


def test_what_a_process_died_over_before_it_told_is_told(system: System):
    """The change and its row are stored, and nothing else has happened."""
    system.befriend("d-ann", "d-bob")
    with (
        Client(system, "d-ann").opened() as ann,
        Client(system, "d-bob", web=1).opened() as bob,
    ):
        engine = make_engine(system.environ["DATABASE_URL"])
        with session_factory(engine)() as session:
            delete_friendship(session, "d-ann", "d-bob")
            pending_announcements.record(session, {"d-ann", "d-bob"})
            session.commit()
        engine.dispose()
        expect_friends(ann)
        expect_friends(bob)
        wait_until(lambda: rows(system) == 0, PATIENCE)
