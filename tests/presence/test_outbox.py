"""The outbox: one drainer at a time, nothing lost, and nobody woken in vain."""

from __future__ import annotations

import threading
import time

import pytest
import redis

import models.presence.outbox
from models.events import VERSION, NewerVersion, Transition, UnreadableMessage
from models.presence.outbox import LEASE_MS, Outbox, OutboxEntry
from tests.presence.shard import GATEWAY, Shard

pytestmark = pytest.mark.integration


def flip(shard: Shard, user: str = "ann") -> bool:
    """Online and offline again; whether either call asked for a drain."""
    kicks = [shard.connect(user).needs_drain]
    shard.release(user)
    kicks.append(shard.store.expire([user]).needs_drain)
    return any(kicks)


# Who has to start a drain


def test_one_kick_until_somebody_drains(shard):
    assert shard.connect("ann").needs_drain
    assert not shard.connect("bob").needs_drain
    assert not flip(shard, "cid")


def test_a_request_that_nobody_heard_is_repeated_after_two_seconds(shard):
    shard.connect("ann")
    ttl = shard.client.pttl(shard.keys.drainer)
    assert 1500 < ttl <= 2000
    shard.client.pexpire(shard.keys.drainer, 1)
    time.sleep(0.01)
    assert shard.connect("bob").needs_drain


def test_expire_asks_for_a_drain_too(shard):
    shard.connect("ann")
    shard.client.delete(shard.keys.drainer)
    shard.release("ann")
    assert shard.store.expire(["ann"]).needs_drain


def test_no_transition_no_kick(shard):
    shard.connect("ann")
    shard.client.delete(shard.keys.drainer)
    assert not shard.connect("ann").needs_drain
    assert not shard.store.expire(["ann"]).needs_drain
    assert not shard.client.exists(shard.keys.drainer)


def test_no_kick_while_a_drainer_works(shard):
    shard.connect("ann")
    assert shard.outbox.take("me") is not None
    assert not shard.connect("bob").needs_drain


# Who may drain


def test_one_drainer_at_a_time(shard):
    outbox = shard.outbox
    assert outbox.take("me") is not None
    assert LEASE_MS - 1000 < shard.client.pttl(shard.keys.drainer) <= LEASE_MS
    assert outbox.take("you") is None
    assert outbox.take("me") is not None
    assert outbox.release_lease("me")
    assert outbox.take("you") is not None


def test_a_request_is_not_a_drainer(shard):
    shard.connect("ann")
    assert shard.outbox.take("me") is not None


def test_holding_again_prolongs_the_lease(shard):
    shard.outbox.take("me")
    shard.client.pexpire(shard.keys.drainer, 1000)
    shard.outbox.take("me")
    assert shard.client.pttl(shard.keys.drainer) > LEASE_MS - 1000


def test_a_dead_drainer_is_replaced_when_its_lease_ends(shard):
    outbox = shard.outbox
    outbox.take("dead")
    shard.connect("ann")
    shard.client.pexpire(shard.keys.drainer, 1)
    time.sleep(0.01)
    assert shard.connect("bob").needs_drain
    assert len(outbox.take("next")) == 2


def test_leaving_what_is_not_empty(shard):
    outbox = shard.outbox
    outbox.take("me")
    shard.connect("ann")
    assert not outbox.release_lease("me")
    assert outbox.take("you") is None
    assert outbox.release_lease("me", unfinished=True)
    assert outbox.take("you") is not None


def test_who_lost_the_lease_takes_it_from_nobody(shard):
    outbox = shard.outbox
    outbox.take("late")
    shard.client.delete(shard.keys.drainer)
    outbox.take("next")
    assert outbox.release_lease("late")
    assert outbox.release_lease("late", unfinished=True)
    assert outbox.take("late") is None
    assert outbox.take("next") is not None


# What it holds


def test_entries_stay_until_they_are_acknowledged(shard):
    outbox = shard.outbox
    flip(shard)
    assert outbox.length() == 2
    first = outbox.take("me")
    assert first == shard.waiting()
    assert [entry.content for entry in first] == shard.transitions()
    assert [entry.content.status for entry in first] == ["online", "offline"]
    assert outbox.take("me") == first
    assert outbox.take("me", limit=1) == first[:1]
    assert outbox.take("me", first[:1]) == first[1:]
    assert not outbox.release_lease("me")
    assert outbox.release_lease("me", first)
    assert outbox.length() == 0
    assert outbox.take("me", first) == []
    assert outbox.take("me", first, wait_ms=1) == []


@pytest.mark.parametrize("wait_ms", [0, 60])
def test_it_takes_the_oldest_first_and_no_more_than_asked(shard, wait_ms):
    for number in range(5):
        shard.connect(f"u{number}")
    entries = shard.outbox.take("me", limit=3, wait_ms=wait_ms)
    assert [entry.content.user_id for entry in entries] == ["u0", "u1", "u2"]


@pytest.mark.parametrize("wait_ms", [0, 60])
def test_it_waits_no_longer_than_asked(shard, wait_ms):
    started = time.monotonic()
    assert shard.outbox.take("me", wait_ms=wait_ms) == []
    assert time.monotonic() - started < 2


def test_who_is_not_the_drainer_gets_nothing_but_what_was_published_is_gone(shard):
    outbox = shard.outbox
    flip(shard)
    first, second = outbox.take("late")
    shard.client.delete(shard.keys.drainer)
    outbox.take("next")
    assert outbox.take("late", [first], wait_ms=1) is None
    assert outbox.take("next", wait_ms=1) == [second]


def test_it_wakes_up_for_the_first_entry(shard):
    found: list[Transition] = []

    def read() -> None:
        found.extend(entry.content for entry in shard.outbox.take("me", wait_ms=20_000))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    reply = shard.connect("ann")
    reader.join(timeout=10)
    assert found == reply.transitions


class Drainers:
    """Threads that drain as the task does, started by nothing but kicks: each kick is
    heard once, so one that is never made leaves the outbox full."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self._kicks = threading.Semaphore(0)
        self._ended = threading.Event()
        self.drained: list[Transition] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def kick(self, needs_drain: bool) -> None:  # noqa: FBT001 - a reply's field
        if needs_drain:
            self._kicks.release()

    def finish(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        client = redis.Redis.from_url(self._url, decode_responses=True)
        outbox = Shard.open(client, self._prefix).outbox
        token = str(threading.get_ident())
        while self._kicks.acquire(timeout=0.2) or not self._ended.is_set():
            self._drain(outbox, token)
        client.close()

    def _drain(self, outbox: Outbox, token: str) -> None:
        entries: list[OutboxEntry] | None = []
        while (entries := outbox.take(token, entries, 7)) is not None:
            self.drained += [entry.content for entry in entries]
            if not entries and outbox.release_lease(token):
                break


def test_no_lost_wakeup_between_a_writer_and_a_leaving_drainer(shard, redis_server):
    drainers = Drainers(redis_server.url, shard.keys.prefix)

    def write(user: str) -> None:
        client = redis.Redis.from_url(redis_server.url, decode_responses=True)
        own = Shard.open(client, shard.keys.prefix)
        for _ in range(60):
            drainers.kick(own.connect(user).needs_drain)
            own.release(user)
            drainers.kick(own.store.expire([user]).needs_drain)
        client.close()

    users = ("u0", "u1", "u2")
    writers = [threading.Thread(target=write, args=(user,)) for user in users]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    drainers.finish()

    assert shard.outbox.length() == 0
    assert len(drainers.drained) == 3 * 60 * 2
    for user in users:
        own = [entry for entry in drainers.drained if entry.user_id == user]
        assert [entry.status for entry in own] == ["online", "offline"] * 60
        times = [entry.timestamp for entry in own]
        assert times == sorted(set(times))


def test_the_outbox_is_bounded_where_nobody_drains(shard):
    """By a MAXLEN of a hundred thousand: looked up in what the server was told."""
    with shard.client.monitor() as monitor:
        shard.connect("ann")
        for command in monitor.listen():
            if command["command"].upper().startswith("XADD"):
                break
    assert " MAXLEN ~ 100000 " in command["command"]
    assert GATEWAY not in command["command"]


# What nobody can read, and what is gone


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": "u3", "state": "away"},
        {"user_id": "u3", "status": "away", "timestamp": "1"},
        {"user_id": "u3", "status": "online", "timestamp": "soon"},
        {"user_id": "u3", "status": "online", "timestamp": "1" + "0" * 400},
        {"user_id": "u3,u4", "status": "online", "timestamp": "1"},
        {"user_id": b"\xff", "status": "online", "timestamp": "1"},
        {"user_id": "u3", "status": "online", "timestamp": "1", "v": "x"},
        {b"\xff": b"\xff"},
    ],
)
@pytest.mark.parametrize("wait_ms", [0, 60])
def test_an_entry_that_cannot_be_read_is_one_of_many(shard, fields, wait_ms):
    shard.connect("ann")
    shard.client.xadd(shard.keys.transitions, fields)
    shard.connect("bob")
    first, bad, last = shard.outbox.take("me", wait_ms=wait_ms)
    assert [first.content.user_id, last.content.user_id] == ["ann", "bob"]
    assert isinstance(bad.content, UnreadableMessage)
    assert not isinstance(bad.content, NewerVersion)
    assert shard.outbox.release_lease("me", [first, bad, last])


def test_an_entry_without_a_version_is_of_the_time_before(shard):
    shard.client.xadd(
        shard.keys.transitions,
        {"user_id": "ann", "status": "online", "timestamp": "5"},
    )
    (entry,) = shard.outbox.take("me")
    assert entry.content == Transition("ann", "online", 5)


def test_an_entry_of_a_newer_version_is_known_as_such(shard):
    newer = str(VERSION + 1)
    shard.client.xadd(
        shard.keys.transitions,
        {"user_id": "ann", "status": "online", "timestamp": "5", "v": newer},
    )
    (entry,) = shard.outbox.take("me")
    assert isinstance(entry.content, NewerVersion)


def drain_all(shard: Shard) -> None:
    entries = shard.outbox.take("me")
    assert shard.outbox.release_lease("me", entries)


def test_nothing_is_owed_while_drainers_take_what_is_there(shard):
    outbox = shard.outbox
    for _ in range(2):
        assert not outbox.has_missed()
        flip(shard)
        assert not outbox.has_missed()
        drain_all(shard)
    assert not outbox.has_missed()


@pytest.mark.parametrize("deleted", [["transitions"], ["transitions", "taken"]])
def test_a_deleted_outbox_is_noticed_once(shard, deleted):
    outbox = shard.outbox
    flip(shard)
    drain_all(shard)
    assert not outbox.has_missed()
    shard.connect("bob")
    shard.client.delete(*(getattr(shard.keys, name) for name in deleted))
    shard.connect("cid")
    assert outbox.has_missed()
    outbox.clear_missed()
    assert not outbox.has_missed()
    assert [one.content.user_id for one in outbox.take("me")] == ["cid"]


def test_a_deleted_number_of_those_taken_is_set_again(shard):
    flip(shard)
    drain_all(shard)
    shard.client.delete(shard.keys.taken)
    assert not shard.outbox.has_missed()
    assert shard.client.get(shard.keys.taken) == "2"


def test_what_a_drainer_of_the_time_before_took_is_not_lost(shard):
    """It deletes entries and does not count them."""
    flip(shard)
    assert not shard.outbox.has_missed()
    for entry in shard.outbox.take("me"):
        shard.client.xdel(shard.keys.transitions, entry.entry_id)
    assert not shard.outbox.has_missed()


def test_an_outbox_that_was_cut_is_noticed(shard, monkeypatch):
    monkeypatch.setattr(models.presence.outbox, "MAX_ENTRIES", 5)
    assert not shard.outbox.has_missed()
    for number in range(7):
        shard.connect(f"u{number}")
    shard.client.xtrim(shard.keys.transitions, maxlen=5, approximate=False)
    assert shard.outbox.has_missed()
