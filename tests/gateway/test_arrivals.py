"""A connection that opens misses nothing: who comes online meanwhile is in its
snapshot, or comes as an event."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import gevent
import gevent.socket
import orjson
import pytest
from sqlalchemy import Engine
from wsproto.connection import Connection as WebSocketProtocol
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from app.gateway.connection import Connection
from app.gateway.gateway import Gateway
from config import Settings
from models.events import Delivery, Transition
from models.presence import Presence
from models.presence.client import connect
from models.presence.servers import OneServer
from models.presence.store import ConnectReply, SignOfLife
from tasks.fanout import fan_out
from tests.databases import friends_in

pytestmark = pytest.mark.integration

BEFORE, AFTER = "before", "after"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann has two friends."""
    with friends_in(tmp_path, ("ann", BEFORE), ("ann", AFTER)) as engine:
        yield engine


class Client:
    """The other end of a connection."""

    def __init__(self, gateway: Gateway, settings: Settings, user_id: str) -> None:
        self._ours, self._socket = gevent.socket.socketpair()
        self._socket.settimeout(5)
        self._frames = WebSocketProtocol(ConnectionType.CLIENT)
        self.connection = Connection(
            self._ours,
            WebSocketProtocol(ConnectionType.SERVER),
            gateway,
            connection_id=gateway.new_connection_id(),
            user_id=user_id,
            expires_at=None,
            max_frame_bytes=settings.max_frame_bytes,
            max_queued_bytes=settings.max_queued_bytes,
            frames_per_second=settings.max_frames_per_second,
        )

    def close(self) -> None:
        self._ours.close()
        self._socket.close()

    def statuses(self) -> dict[str, str]:
        """The map after all that has come: a snapshot is the map, and of each user the
        newest timestamp wins."""
        found: dict[str, dict[str, object]] = {}
        self._frames.receive_data(self._socket.recv(1 << 20))
        for frame in self._frames.events():
            assert isinstance(frame, TextMessage)
            message = orjson.loads(frame.data)
            data = message["data"]
            if message["event"] == "presence_snapshot":
                found = data["statuses"]
            elif message["event"] == "friend_status_changed":
                known = found.get(data["user_id"], data)
                newest = max(known, data, key=lambda one: one["timestamp"])
                found[data["user_id"]] = newest
        return {user_id: str(one["status"]) for user_id, one in found.items()}


@pytest.fixture
def settings(engine: Engine, valkey_url: str) -> Settings:
    return Settings(
        database_url=str(engine.url),
        redis_url=valkey_url,
        broker_url=valkey_url,
        jwt_secret="s" * 32,
        service_key=None,
    )


@pytest.fixture
def presence(settings: Settings) -> Presence:
    prefix = f"{{a{secrets.token_hex(4)}}}:"
    return Presence(settings, [prefix], OneServer(connect(settings)))


@pytest.fixture
def gateway(settings: Settings, presence: Presence, engine: Engine) -> Gateway:
    """A gateway without loops, which Redis knows."""
    gateway = Gateway(settings, presence, engine)
    gateway._lanes[0].announce()
    return gateway


def test_who_is_introduced_was_not_in_the_snapshot_of_another(gateway, settings):
    """Ann's snapshot and Bob's are read together; only Ann's has her friend."""
    with (
        closing(Client(gateway, settings, "ann")) as ann,
        closing(Client(gateway, settings, "bob")) as bob,
    ):
        open_them(gateway, ann.connection, bob.connection)
        assert bob.statuses() == {}
        introduced = Transition(BEFORE, "offline", 0)
        gateway.hub.deliver([Delivery(introduced, ("ann", "bob"))])
        assert ann.statuses() == {BEFORE: "offline", AFTER: "offline"}
        assert bob.statuses() == {BEFORE: "offline"}


def test_who_comes_online_around_the_registration_is_not_missed(
    engine, settings, presence, gateway, monkeypatch
):
    store = presence.shards[0].store
    register = store.connect

    def comes_online(user_id: str) -> None:
        """At another gateway, and the fan-out tells it, all at once."""
        reply = register("web.2:bb", [SignOfLife(user_id, f"web.2:bb:{user_id}")])
        assert len(reply.transitions) == 1
        with engine.connect() as reader:
            fan_out(presence, reader, reply.transitions)

    def registered_amid_news(gateway_id: str, signs: list[SignOfLife]) -> ConnectReply:
        comes_online(BEFORE)
        reply = register(gateway_id, signs)
        comes_online(AFTER)
        return reply

    monkeypatch.setattr(store, "connect", registered_amid_news)
    with closing(Client(gateway, settings, "ann")) as client:
        open_them(gateway, client.connection)
        assert client.statuses() == {BEFORE: "online", AFTER: "online"}


def open_them(gateway: Gateway, *connections: Connection) -> None:
    """What the gateway's loops do, one after the other."""
    lane = gateway._lanes[0]
    for connection in connections:
        gateway.hub.add(connection)
        lane.add(connection)
    steps: list[Callable[[], None]] = [
        lane.steps()["arrivals"],
        gateway._snapshots.step,
        gateway._listener.step,
    ]
    for step in steps:  # one that has nothing to do waits, which is no matter here
        gevent.with_timeout(3, step, timeout_value=None)
