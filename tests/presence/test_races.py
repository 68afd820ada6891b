"""Many connections at once against few users: what must hold when all is quiet, and on
the way there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
import redis

from models.events import Transition
from tests.presence.shard import Shard

pytestmark = pytest.mark.integration

USERS = ("ann", "bob")
TTL = 0.05
"""Seconds; so short that deadlines pass while the threads run."""


def run(url: str, prefix: str, work: Callable[[Shard, int], None], count: int) -> None:
    """`work` in `count` threads, each with its own connection. Fails as they do."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def one(number: int) -> None:
        client = redis.Redis.from_url(url, decode_responses=True)
        try:
            start.wait()
            work(Shard.open(client, prefix, online_ttl=TTL), number)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def check_outbox(outbox: list[Transition], ends_online: dict[str, bool]) -> None:
    """One entry per transition: they alternate, and timestamps strictly increase."""
    for user, is_online in ends_online.items():
        own = [entry for entry in outbox if entry.user_id == user]
        turns = ["online", "offline"] * (len(own) // 2 + 1)
        assert [entry.status for entry in own] == turns[: len(own)]
        assert len(own) % 2 == int(is_online)
        times = [entry.timestamp for entry in own]
        assert times == sorted(set(times))


def hammer(shard: Shard, number: int) -> None:
    """What a gateway does, in any order, as fast as it can."""
    dice = random.Random(number)  # noqa: S311 - repeatable, not secret
    gateway = f"w{number % 3}:1"
    for _ in range(250):
        user = dice.choice(USERS)
        device = dice.randrange(2)
        action = dice.randrange(6)
        if action <= 1:
            shard.connect(user, device, gateway)
        elif action == 2:
            shard.heartbeat(user, device, gateway)
        elif action == 3:
            shard.release(user, device, gateway, grace_ms=dice.choice([0, 5]))
        elif action == 4:
            shard.expire(*USERS)
        else:
            shard.expire(*shard.store.due().user_ids)


def test_invariants_under_fire(shard, redis_server):
    shard.connect("live", gateway="w9:1")  # a TTL of a minute: never offline
    run(redis_server.url, shard.keys.prefix, hammer, 4)

    now = shard.now()
    for user in USERS:
        live = any(end > now for end in shard.connections(user).values())
        assert shard.is_online(user) or not live
    assert shard.is_online("live")
    ends = {user: shard.is_online(user) for user in USERS}
    check_outbox(shard.transitions(), {**ends, "live": True})

    time.sleep(2 * TTL)
    assert {one.user_id for one in shard.expire(*USERS)} == {
        user for user, is_online in ends.items() if is_online
    }
    check_outbox(shard.transitions(), dict.fromkeys(USERS, False))
    for user in USERS:
        assert shard.connections(user) == {}
        assert shard.deadline(user) is None


def test_many_sweeps_at_once_are_one_transition(shard, redis_server):
    users = [f"u{number}" for number in range(300)]
    for user in users:
        shard.connect(user)
        shard.release(user)
    run(redis_server.url, shard.keys.prefix, lambda own, _: own.expire(*users), 4)
    offline = [
        entry.user_id for entry in shard.transitions() if entry.status == "offline"
    ]
    assert sorted(offline) == sorted(users)


def test_a_user_who_comes_back_is_never_left_offline(shard, redis_server):
    """One thread reconnects, the others expire without pause: after each connect the
    user is online, and stays so."""
    done = threading.Event()

    def work(own: Shard, number: int) -> None:
        if number > 0:
            while not done.is_set():
                own.expire("ann")
            return
        try:
            for _ in range(150):
                shard.connect("ann")
                assert own.is_online("ann")
                assert shard.release("ann") == 1
        finally:
            done.set()

    run(redis_server.url, shard.keys.prefix, work, 3)
    shard.expire("ann")
    check_outbox(shard.transitions(), {"ann": False})


def test_reaping_while_the_gateway_comes_back(shard, redis_server):
    """Whichever wins, a gateway that registers on `lapsed` has its users online."""
    users = [f"u{number}" for number in range(20)]

    def work(own: Shard, number: int) -> None:
        for _ in range(30):
            if number == 0:
                shard.kill_gateway("w:1")
                lapsed = shard.gateways.heartbeat("w:1").lapsed
                for user in users:
                    if lapsed or not shard.heartbeat(user, gateway="w:1"):
                        shard.connect(user, gateway="w:1")
            else:
                own.expire(*own.gateways.reap("w:1"))

    run(redis_server.url, shard.keys.prefix, work, 3)
    signs_lapsed = shard.gateways.heartbeat("w:1").lapsed
    for user in users:
        if signs_lapsed or not shard.heartbeat(user, gateway="w:1"):
            shard.connect(user, gateway="w:1")
    assert all(shard.presence.online(users).values())
    assert all(shard.holds(user, "w:1") for user in users)
    check_outbox(shard.transitions(), dict.fromkeys(users, True))
