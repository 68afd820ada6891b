"""The drain of the outbox, with a real Redis and real databases: nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from models.events import EVERYBODY, VERSION
from models.identifiers import ids_in
from models.presence import Presence
from models.presence.store import LiveConnection
from models.sql.db import make_engine
from tasks import broadcast, resources
from tasks.drainer_policy import LONG_STAY, SHORT_STAY, WorkerState
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, Shard
from tests.servers import free_port
from tests.system import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann and bob are friends."""
    with friends_in(tmp_path, ("ann", "bob")) as engine:
        yield engine


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    yield client
    client.close()


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
        for _, message in presence.gateway_streams.read(GATEWAY, "0-0", 1).messages
        for delivery in message.transitions
        for recipient in ids_in(delivery.recipients)
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


def test_a_drainer_stays_where_there_are_processes_to_spare(
    presence, engine, monkeypatch
):
    worker = WorkerState(processes=2)
    monkeypatch.setattr(broadcast, "worker_state", worker)
    monkeypatch.setattr(resources, "database", lambda: engine)
    with ThreadPoolExecutor() as threads:
        drained = threads.submit(broadcast.drain, presence)
        wait_until(lambda: len(told(presence)) == 2)
        # Nobody is to ask for a drain, not even after a time without changes.
        time.sleep(1.5 * broadcast.WAIT_BEFORE_LEAVING_MS / 1000)
        store = presence.shards[0].store
        reply = store.connect(GATEWAY, [LiveConnection("cid", f"{GATEWAY}:cid")])
        assert not reply.needs_drain
        wait_until(lambda: presence.shards[0].outbox.length() == 0)
        assert not drained.done()
        worker.stop()
        assert drained.result(timeout=5), "the next one is to be sent"
    assert broadcast.drain(presence), "it may be drained by the next one at once"


def test_turns_follow_the_processes_and_the_shards():
    assert WorkerState(processes=2).stay_seconds(1) == LONG_STAY
    assert WorkerState(processes=3).stay_seconds(3) == SHORT_STAY / 3
    assert WorkerState().stay_seconds(1) == SHORT_STAY


@pytest.mark.parametrize(
    ("processes", "drains", "has_sender"), [(1, 1, False), (2, 2, False), (3, 2, True)]
)
def test_the_sender_of_webhooks_gets_a_process_if_two_are_left(
    processes, drains, has_sender
):
    state = WorkerState()
    state.count(processes, sends_webhooks=True)
    assert (state.processes, state.has_sender) == (drains, has_sender)
    state.count(processes, sends_webhooks=False)
    assert (state.processes, state.has_sender) == (processes, False)


class Ended(BaseException):
    """As a worker is ended by its signals: anywhere."""


def test_a_drainer_that_ends_after_publishing_leaves_its_entries_to_the_next(
    presence, engine, monkeypatch
):
    monkeypatch.setattr(resources, "database", lambda: engine)
    publish = presence.gateway_streams.publish_where_possible

    def publish_and_end(messages):
        publish(messages)
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(
            presence.gateway_streams, "publish_where_possible", publish_and_end
        )
        with pytest.raises(Ended):
            broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 2
    broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 0
    assert told(presence) == {("ann", "bob"), ("bob", "ann")}


def told_to_look(presence: Presence) -> int:
    """How many times the gateway was told to give everybody a fresh snapshot."""
    inbox = presence.gateway_streams.read(GATEWAY, "0-0", 1)
    return sum(EVERYBODY in message.snapshots for _, message in inbox.messages)


def test_an_entry_that_cannot_be_read_stops_nothing(
    presence, engine, client, monkeypatch
):
    monkeypatch.setattr(resources, "database", lambda: engine)
    client.xadd(presence._keys[0].transitions, {"user_id": "u3", "state": "away"})
    store = presence.shards[0].store
    store.connect(GATEWAY, [LiveConnection("cid", f"{GATEWAY}:cid")])
    broadcast.drain(presence)
    assert presence.shards[0].outbox.length() == 0
    assert told(presence) == {("ann", "bob"), ("bob", "ann")}
    assert told_to_look(presence) == 1
    broadcast.drain(presence)
    assert told_to_look(presence) == 1


def test_what_a_newer_version_wrote_is_left_to_a_newer_worker(
    presence, engine, client, monkeypatch
):
    monkeypatch.setattr(resources, "database", lambda: engine)
    key = presence._keys[0].transitions
    newer = str(VERSION + 1)
    entry = {"user_id": "ann", "status": "away", "timestamp": "9", "v": newer}
    client.xadd(key, entry)
    for _ in range(2):
        assert not broadcast.drain(presence)
        assert told(presence) == {("ann", "bob"), ("bob", "ann")}
    assert [fields for _, fields in client.xrange(key)] == [entry]
    assert not client.exists(presence._keys[0].drainer), "the newer one need not wait"


def test_a_deleted_outbox_is_made_good_by_snapshots(
    presence, engine, client, monkeypatch
):
    monkeypatch.setattr(resources, "database", lambda: engine)
    broadcast.drain(presence)
    assert told_to_look(presence) == 0
    store = presence.shards[0].store
    store.connect(GATEWAY, [LiveConnection("cid", f"{GATEWAY}:cid")])
    client.delete(presence._keys[0].transitions)
    broadcast.drain(presence)
    assert told_to_look(presence) == 1
