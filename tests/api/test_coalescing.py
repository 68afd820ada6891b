"""Many callers, few reads: each gets his own map, and none that is older than his
question."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine

from app.api import coalescing
from app.api.coalescing import CoalescedReads
from config import Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.keys import shard_number
from models.presence.redis.backend import Gathered, SingleServer
from models.presence.store import LiveConnection
from models.sql.audience import friends_of
from models.sql.db import PersistentReader
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, Shard
from tests.servers import free_port
from tests.system import wait_until

pytestmark = pytest.mark.integration

Statuses = dict[str, bool]
FRIENDS = {"ann": {"bob", "cid"}, "bob": {"ann"}, "cid": {"ann"}, "zoe": set()}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    with friends_in(tmp_path, ("ann", "bob"), ("ann", "cid")) as engine:
        yield engine


@pytest.fixture
def shard(valkey_url: str) -> Shard:
    """A state in which bob is online."""
    shard = Shard.open(redis.Redis.from_url(valkey_url, decode_responses=True))
    shard.connect("bob")
    return shard


class Callers:
    """Callers of one hydration, of whose reads the test holds the first at its end."""

    def __init__(self, presence: Presence, database: Engine) -> None:
        self.reads_of = CoalescedReads(
            presence, PersistentReader(database), self._friends_of
        )
        self.reads_of._join = self._join
        self._joined = 0
        self._counting = threading.Lock()
        self.reads: list[set[str]] = []
        self.faults: dict[int, BaseException] = {}
        self.late_fault: Exception | None = None
        self._is_held = threading.Event()
        self._released = threading.Event()
        self._pool = ThreadPoolExecutor(20)
        look = presence.online_where_possible

        def look_and_wait(user_ids: set[str]) -> object:
            found = look(user_ids)
            if len(self.reads) == 1:
                self._is_held.set()
                self._released.wait(10)
                if self.late_fault:
                    raise self.late_fault
            return found

        presence.online_where_possible = look_and_wait

    def _friends_of(self, reader, user_ids):
        self.reads.append(set(user_ids))
        if fault := self.faults.get(len(self.reads)):
            raise fault
        return friends_of(reader, user_ids)

    def hold(self, user_id: str) -> Future[Statuses]:
        """Have him ask, alone, and wait until all is read for him."""
        (asked,) = self.ask(user_id)
        assert self._is_held.wait(10)
        return asked

    def ask(self, *user_ids: str) -> list[Future[Statuses]]:
        """Have each of them ask, and wait until all are under way."""
        expected = self._joined + len(user_ids)
        asked = [self._pool.submit(self.status_map, user_id) for user_id in user_ids]
        wait_until(lambda: self._joined == expected)
        return asked

    def status_map(self, user_id: str) -> Statuses:
        """What the answer to `user_id` says."""
        found = self.reads_of.status_map(user_id)
        statuses: Statuses = json.loads(found.body)["data"]["statuses"]
        assert found.is_empty == (not statuses)
        return statuses

    def _join(self, user_id: str) -> object:
        joined = CoalescedReads._join(self.reads_of, user_id)
        with self._counting:
            self._joined += 1
        return joined

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self.release()
        self._pool.shutdown()


@pytest.fixture
def callers(shard: Shard, database: Engine) -> Iterator[Callers]:
    callers = Callers(shard.presence, database)
    yield callers
    callers.close()


def test_a_read_is_not_for_who_asks_while_it_is_under_way(callers, shard):
    before = callers.hold("ann")
    shard.connect("cid")
    (after,) = callers.ask("ann")
    callers.release()
    assert before.result(10) == {"bob": True, "cid": False}
    assert after.result(10) == {"bob": True, "cid": True}


def test_who_asks_meanwhile_gets_his_own_map_by_one_read(callers):
    callers.hold("ann")
    others = ["bob", "ann", "cid", "zoe", "bob", "nobody"]
    asked = callers.ask(*others)
    callers.release()
    online = {"bob"}
    for user_id, future in zip(others, asked, strict=True):
        friends = FRIENDS.get(user_id, set())
        assert future.result(10) == {friend: friend in online for friend in friends}
    assert callers.reads == [{"ann"}, {*others}]


def test_one_read_is_for_so_many_only(callers, monkeypatch):
    monkeypatch.setattr(coalescing, "MAX_AT_ONCE", 2)
    first = callers.hold("zoe")
    asked = [future for n in range(5) for future in callers.ask(f"u{n}")]
    callers.release()
    assert [future.result(10) for future in (first, *asked)] == [{}] * 6
    assert sorted(len(read) for read in callers.reads) == [1, 1, 2, 2]


def test_all_hear_of_an_error_and_the_next_one_is_served(callers):
    callers.faults = {2: PresenceUnavailable()}
    callers.hold("ann")
    asked = callers.ask("bob", "cid")
    callers.release()
    for future in asked:
        with pytest.raises(PresenceUnavailable):
            future.result(10)
    assert callers.status_map("cid") == {"ann": False}


def all_fail_by_one_try(callers: Callers) -> bool:
    """Whether three callers of a read each get the error of the first one's."""
    asked = [callers.hold("ann"), *callers.ask("bob", "cid")]
    callers.release()
    for future in asked:
        with pytest.raises(PresenceUnavailable):
            future.result(10)
    return callers.reads == [{"ann"}]


def test_an_error_is_for_all_who_asked_before_it(callers, monkeypatch):
    """Where each try takes seconds the last of them would wait for all the tries."""
    monkeypatch.setattr(coalescing, "MAX_AT_ONCE", 1)
    callers.late_fault = PresenceUnavailable()
    assert all_fail_by_one_try(callers)
    assert callers.status_map("cid") == {"ann": False}


def test_redis_that_is_away_is_tried_once_for_all_who_wait(database, monkeypatch):
    monkeypatch.setattr(coalescing, "MAX_AT_ONCE", 1)
    away = Shard.open(nowhere())
    with closing(Callers(away.presence, database)) as callers:
        assert all_fail_by_one_try(callers)


def test_who_waited_for_one_that_was_stopped_is_served(callers):
    callers.faults = {2: SystemExit()}
    callers.hold("ann")
    asked = callers.ask("bob", "cid")
    callers.release()
    results = [future.exception(10) or future.result() for future in asked]
    assert sorted(map(type, results), key=str) == [SystemExit, dict]
    assert {"ann": False} in results


def nowhere() -> redis.Redis:
    """A client of a server that is away."""
    return redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))


class ServerForEachShard:
    """Servers of which each holds one shard."""

    def __init__(self, *clients: redis.Redis) -> None:
        self._servers = [SingleServer(client) for client in clients]

    def run(self, shard, commands, *, raw=False):
        return self._servers[shard].run(shard, commands, raw=raw)

    def gather(self, commands: Mapping[int, Sequence[object]]) -> Gathered:
        together = Gathered({}, {})
        for shard, mine in commands.items():
            answers = self._servers[shard].gather({shard: mine})
            together.replies.update(answers.replies)
            together.errors.update(answers.errors)
        return together


def test_a_shard_that_is_away_is_an_error_for_its_users_friends_only(
    valkey_url, database
):
    numbers = {name: shard_number(name, 2) for name in FRIENDS}
    assert numbers["ann"] != numbers["bob"]
    clients = {
        numbers["ann"]: redis.Redis.from_url(valkey_url, decode_responses=True),
        numbers["bob"]: nowhere(),
    }
    prefix = secrets.token_hex(4)
    presence = Presence(
        Settings.from_env({"SECRET_KEY": "s" * 32}),
        [f"{{{prefix}{number}}}:" for number in range(2)],
        ServerForEachShard(clients[0], clients[1]),
    )
    sign = LiveConnection("ann", f"{GATEWAY}:1")
    presence.shard_of("ann").store.connect(GATEWAY, [sign])
    with closing(Callers(presence, database)) as callers:
        callers.hold("zoe")
        of_bob, of_ann = callers.ask("bob", "ann")
        callers.release()
        assert of_bob.result(10) == {"ann": True}
        with pytest.raises(PresenceUnavailable):
            of_ann.result(10)
