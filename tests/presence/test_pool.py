"""The connection that is kept at hand overtakes nobody, and no two have the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from models.presence.redis.pool import KeepingPool
from models.presence.redis.roundtrip import ask
from tests.servers import RedisServer
from tests.system import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def pool(redis_server: RedisServer) -> Iterator[KeepingPool]:
    pool = KeepingPool.from_url(redis_server.url, max_connections=2, timeout=5)
    yield pool
    pool.disconnect()


def test_the_last_one_given_back_is_the_next_one_taken(pool):
    first, second = pool.get_connection(), pool.get_connection()
    assert first is not second
    pool.release(first)
    pool.release(second)
    assert pool.get_connection() is first
    assert pool.get_connection() is second


def test_who_waits_is_not_overtaken(pool):
    first, second = pool.get_connection(), pool.get_connection()
    got = []
    waiting = threading.Thread(target=lambda: got.append(pool.get_connection()))
    waiting.start()
    wait_until(lambda: pool._waiting)
    pool.release(first)
    waiting.join(4)
    assert got == [first]
    pool.release(second)
    assert pool.get_connection() is second


def test_one_that_was_cut_is_not_given_out_dead(pool):
    connection = pool.get_connection()
    pool.release(connection)
    connection.disconnect()
    again = pool.get_connection()
    assert again.is_connected


def test_many_threads_at_once_each_get_their_own_replies(pool):
    client = redis.Redis(connection_pool=pool)
    wrong = []

    def work(name: str) -> None:
        for number in range(300):
            word = f"{name} {number}".encode()
            if ask(client, [("ECHO", word)]) != [word]:
                wrong.append(word)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(pool._connections) <= 2
    # Nothing was lost: both can be had.
    assert pool.get_connection() is not pool.get_connection()


def test_a_forked_process_makes_connections_of_its_own(pool):
    client = redis.Redis(connection_pool=pool)
    (number,) = ask(client, [("CLIENT", "ID")])
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if ask(client, [("CLIENT", "ID")]) != [number] else 1)
    deadline = time.monotonic() + 15
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert ask(client, [("CLIENT", "ID")]) == [number]
