"""The drain of the outbox, with a real Redis and real databases: nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from models.db import make_engine
from models.presence import Presence
from tasks import broadcast, resources
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, Shard
from tests.servers import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann and bob are friends."""
    with friends_in(tmp_path, ("ann", "bob")) as engine:
        yield engine


@pytest.fixture
def presence(valkey_url: str) -> Presence:
    """Ann is online on a gateway, bob has just come online; nobody was told."""
    shard = Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))
    shard.gateways.heartbeat(GATEWAY)
    for user in ("ann", "bob"):
        shard.connect(user)
    return shard.presence


def told(presence: Presence) -> set[tuple[str, str]]:
    """Who was told of whom, as the gateway reads it."""
    return {
        (recipient, delivery.transition.user_id)
        for _, message in presence.mail.read(GATEWAY, "0", 1)
        for delivery in message.transitions
        for recipient in delivery.recipients
    }


def test_what_could_not_be_published_stays_in_the_outbox(presence, engine, monkeypatch):
    away = make_engine(f"postgresql+psycopg://u:p@127.0.0.1:{free_port()}/none")
    monkeypatch.setattr(resources, "database", lambda: away)
    with pytest.raises(OperationalError):
        broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 2
    assert told(presence) == set()
    monkeypatch.setattr(resources, "database", lambda: engine)
    broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 0
    assert told(presence) == {("ann", "bob"), ("bob", "ann")}


class Ended(BaseException):
    """As a worker is ended by its signals: anywhere."""


def test_a_drainer_that_ends_after_publishing_leaves_its_entries_to_the_next(
    presence, engine, monkeypatch
):
    monkeypatch.setattr(resources, "database", lambda: engine)
    publish = presence.mail.publish_where_possible

    def publish_and_end(messages):
        publish(messages)
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(presence.mail, "publish_where_possible", publish_and_end)
        with pytest.raises(Ended):
            broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 2
    broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 0
    assert told(presence) == {("ann", "bob"), ("bob", "ann")}
