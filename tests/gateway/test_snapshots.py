"""A fresh snapshot of a client that has had one: what comes around it is not lost."""

from __future__ import annotations

from contextlib import closing

import gevent
import pytest
from sqlalchemy import func, select

from models import graph
from models.db import session_factory
from models.events import Delivery, Transition
from models.presence import PresenceUnavailable
from models.user import user_table
from tests.gateway.client import AFTER, BEFORE, Client, open_them

pytestmark = pytest.mark.integration

CARL = "carl"
INTRODUCED = Transition(CARL, "offline", 0)


@pytest.fixture
def ann(gateway, settings):
    """Ann's client, who has had her snapshot."""
    with closing(Client(gateway, settings, "ann")) as client:
        open_them(gateway, client.connection)
        assert client.statuses() == {BEFORE: "offline", AFTER: "offline"}
        yield client


def refresh(gateway):
    gateway._snapshots.owe(gateway.hub.connections())
    gevent.with_timeout(3, gateway._snapshots.step)


def introduce(gateway, transition=INTRODUCED):
    gateway.hub.deliver([Delivery(transition, "ann")])


def amid_the_read(monkeypatch, presence, act):
    """Do `act` once the relations of the next snapshot have been read."""
    read = presence.statuses_where_possible

    def read_and_act(user_ids):
        monkeypatch.setattr(presence, "statuses_where_possible", read)
        act()
        return read(user_ids)

    monkeypatch.setattr(presence, "statuses_where_possible", read_and_act)


def test_a_friend_made_while_it_is_read_is_in_the_map(
    gateway, presence, ann, monkeypatch
):
    amid_the_read(monkeypatch, presence, lambda: introduce(gateway))
    refresh(gateway)
    everybody = {BEFORE: "offline", AFTER: "offline", CARL: "offline"}
    assert ann.statuses() == everybody


def test_what_was_held_for_one_that_failed_is_told(gateway, presence, ann, monkeypatch):
    def fail():
        introduce(gateway)
        raise PresenceUnavailable

    amid_the_read(monkeypatch, presence, fail)
    monkeypatch.setattr("app.gateway.snapshots.RETRY_AFTER", 0)
    refresh(gateway)
    assert [data["user_id"] for _, data in ann.messages()] == [CARL]


def test_who_was_deleted_while_connected_stays_deleted(gateway, engine, ann):
    with session_factory(engine)() as session:
        graph.delete_user(session, "ann")
        session.commit()
    refresh(gateway)
    assert ann.statuses() == {}
    with engine.connect() as connection:
        is_ann = user_table.c.id == "ann"
        found = connection.scalar(
            select(func.count()).select_from(user_table).where(is_ann)
        )
    assert found == 0
