"""A connection that opens misses nothing: a friend that comes online meanwhile is in
its snapshot, or comes as an event."""

from __future__ import annotations

from contextlib import closing

import gevent
import pytest

from app.new_users import NewUsers
from models.events import Delivery, Transition
from models.fanout import fan_out
from models.presence import PresenceUnavailable
from models.presence.store import ConnectReply, LiveConnection
from tests.gateway.client import AFTER, BEFORE, Client, open_them

pytestmark = pytest.mark.integration


def test_who_is_introduced_was_not_in_the_snapshot_of_another(gateway, engine):
    """Ann's snapshot and Bob's are read together; only Ann's has her friend."""
    NewUsers(engine).store(["bob"])
    with (
        closing(Client(gateway, "ann")) as ann,
        closing(Client(gateway, "bob")) as bob,
    ):
        open_them(gateway, ann.connection, bob.connection)
        assert bob.statuses() == {}
        introduced = Transition(BEFORE, "offline", 0)
        gateway.hub.introduce([Delivery(introduced, "ann,bob")])
        assert ann.statuses() == {BEFORE: "offline", AFTER: "offline"}
        assert bob.statuses() == {BEFORE: "offline"}


def test_who_comes_online_around_the_registration_is_not_missed(
    engine, presence, gateway, monkeypatch
):
    store = presence.shards[0].store
    register = store.connect

    def comes_online(user_id: str) -> None:
        """At another gateway, and the fan-out tells it, all at once."""
        reply = register("web.2:bb", [LiveConnection(user_id, f"web.2:bb:{user_id}")])
        assert len(reply.transitions) == 1
        with engine.connect() as reader:
            fan_out(presence, reader, reply.transitions)

    def registered_amid_news(
        gateway_id: str, signs: list[LiveConnection]
    ) -> ConnectReply:
        comes_online(BEFORE)
        reply = register(gateway_id, signs)
        comes_online(AFTER)
        return reply

    monkeypatch.setattr(store, "connect", registered_amid_news)
    with closing(Client(gateway, "ann")) as client:
        open_them(gateway, client.connection)
        assert client.statuses() == {BEFORE: "online", AFTER: "online"}


def test_who_comes_while_redis_is_away_is_not_forgotten(presence, gateway, monkeypatch):
    """More than one call's worth of them: the first call fails, and nobody else comes
    who would wake the others."""
    monkeypatch.setattr("app.gateway.connects.CONNECT_BATCH", 1)
    store = presence.shards[0].store
    register = store.connect

    def is_away(*_: object) -> ConnectReply:
        monkeypatch.setattr(store, "connect", register)
        raise PresenceUnavailable

    monkeypatch.setattr(store, "connect", is_away)
    with (
        closing(Client(gateway, "ann")) as ann,
        closing(Client(gateway, "bob")) as bob,
    ):
        for client in (ann, bob):
            gateway.sessions[0].connect(client.connection)
        step = gateway.connects[0].step
        with pytest.raises(PresenceUnavailable):
            step()
        gevent.with_timeout(3, step)
        assert ann.connection.is_closing
        assert [event for event, _ in bob.messages()] == ["welcome"]
