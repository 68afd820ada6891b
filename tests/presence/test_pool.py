"""Connections and their pool: redis-py's, with the three parts that are ours."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import gevent
import pytest
import redis
from gevent.queue import LifoQueue
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.presence.redis.client import FastConnection, PrimaryPool
from models.presence.redis.roundtrip import roundtrip
from tests.servers import RedisServer
from tests.system import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def pool(redis_server: RedisServer) -> Iterator[PrimaryPool]:
    pool = PrimaryPool.from_url(
        redis_server.url,
        max_connections=2,
        timeout=5,
        connection_class=FastConnection,
        retry=Retry(NoBackoff(), 1),
    )
    yield pool
    pool.disconnect()


def test_the_last_one_given_back_is_the_next_one_taken(pool):
    first, second = pool.get_connection(), pool.get_connection()
    assert first is not second
    pool.release(second)
    pool.release(first)
    assert pool.get_connection() is first
    assert pool.get_connection() is second


def test_a_waiting_greenlet_is_not_overtaken(redis_server):
    """With the queue of gevent that the gateway passes in. That of the standard library
    lets the caller that comes last have the connection."""
    pool = PrimaryPool.from_url(
        redis_server.url, max_connections=2, timeout=5, queue_class=LifoQueue
    )
    first, second = pool.get_connection(), pool.get_connection()
    got = []
    waiting = gevent.spawn(lambda: got.append(pool.get_connection()))
    gevent.sleep(0)
    pool.release(first)
    late = gevent.spawn(lambda: got.append(pool.get_connection()))
    gevent.joinall([waiting], timeout=4)
    assert got == [first]
    pool.release(second)
    gevent.joinall([late], timeout=4)
    assert got == [first, second]
    pool.disconnect()


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
            if roundtrip(client, [("ECHO", word)]) != [word]:
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


def test_a_caller_finds_what_is_given_back_just_before_it_waits(redis_server):
    """A pool that kept a connection beside its queue did not: the caller had looked for
    a free one already, and then waited at the queue in vain."""
    pool = PrimaryPool.from_url(redis_server.url, max_connections=1, timeout=5)
    connection = pool.get_connection()
    get = pool.pool.get

    def late_get(*args, **kwargs):
        thread = threading.Thread(target=pool.release, args=(connection,))
        thread.start()
        thread.join()
        return get(*args, **kwargs)

    pool.pool.get = late_get
    started = time.monotonic()
    assert pool.get_connection() is connection
    assert time.monotonic() - started < 4
    pool.disconnect()


def test_a_connection_whose_look_fails_is_replaced_and_not_lost(pool, monkeypatch):
    connection = pool.get_connection()
    pool.release(connection)

    def fail(*_: object) -> bool:
        monkeypatch.undo()
        raise redis.ConnectionError

    monkeypatch.setattr(FastConnection, "can_read", fail)
    assert pool.get_connection() is connection
    assert connection.is_connected
    assert pool.get_connection() is not connection


def test_no_wake_up_is_lost_between_threads(redis_server):
    """Every caller gets the one connection in the end, however many compete for it."""
    pool = PrimaryPool.from_url(redis_server.url, max_connections=1, timeout=20)
    served = []

    def work() -> None:
        for _ in range(200):
            pool.release(pool.get_connection())
        served.append(None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(served) == len(threads)
    pool.disconnect()


def test_a_forked_process_makes_connections_of_its_own(pool):
    client = redis.Redis(connection_pool=pool)
    (number,) = roundtrip(client, [("CLIENT", "ID")])
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if roundtrip(client, [("CLIENT", "ID")]) != [number] else 1)
    deadline = time.monotonic() + 15
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert roundtrip(client, [("CLIENT", "ID")]) == [number]


# The cheap `can_read` beside the library's


def both_can_read(connection: FastConnection) -> tuple[bool, bool]:
    return connection.can_read(), redis.Connection.can_read(connection)


def test_the_cheap_look_at_the_socket_says_what_the_librarys_says(pool):
    connection = pool.get_connection()
    assert both_can_read(connection) == (False, False)
    connection.send_command("PING")
    wait_until(connection.can_read)
    assert both_can_read(connection) == (True, True)
    assert connection.read_response() == b"PONG"
    assert both_can_read(connection) == (False, False)


def test_a_closed_socket_is_noticed_at_the_command(pool, client):
    """The one difference: the library would notice before the command."""
    connection = pool.get_connection()
    pool.release(connection)
    (number,) = roundtrip(redis.Redis(connection_pool=pool), [("CLIENT", "ID")])
    client.client_kill_filter(_id=str(number))
    wait_until(lambda: is_seen_as_closed(connection))
    assert not connection.can_read()
    assert roundtrip(redis.Redis(connection_pool=pool), [("ECHO", "a")]) == [b"a"]


def is_seen_as_closed(connection: FastConnection) -> bool:
    try:
        return redis.Connection.can_read(connection)
    except redis.ConnectionError:
        return True
