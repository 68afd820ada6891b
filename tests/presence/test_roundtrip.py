"""A round trip gets its own replies, all of them, whatever happened to the last one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.exceptions import ResponseError

from config import Settings
from models.presence.redis.client import connect
from models.presence.redis.roundtrip import ask, reading
from tests.presence.shard import Shard
from tests.servers import RedisServer

NUMBER = ("STRLEN", "no such key")


class Interrupted(BaseException):
    """Comes in the middle of a wait, as the end of a greenlet does."""


@pytest.fixture
def line(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client as the processes make it: the last connection is the next one."""
    url = redis_server.url
    client = connect(
        Settings(
            database_url="sqlite://",
            redis_url=url,
            broker_url=url,
            jwt_secret="s" * 32,
            service_key=None,
            redis_max_connections=2,
        )
    )
    yield client
    client.close()


def test_an_error_among_the_replies_leaves_none_unread(line: redis.Redis) -> None:
    (number,) = ask(line, [("CLIENT", "ID")])
    with pytest.raises(ResponseError, match="wrong number of arguments"):
        ask(line, [("ECHO", "before"), ("ECHO",), ("ECHO", "after")])
    # On the same connection: an error is an answer.
    assert ask(line, [("CLIENT", "ID"), NUMBER]) == [number, 0]


def test_nothing_asked_is_nothing_sent(line: redis.Redis) -> None:
    assert ask(line, []) == []


def test_a_dead_connection_is_replaced(line: redis.Redis, client: redis.Redis) -> None:
    (number,) = ask(line, [("CLIENT", "ID")])
    client.client_kill_filter(_id=str(number))
    (other,) = ask(line, [("CLIENT", "ID")])
    assert other != number


def test_who_is_interrupted_leaves_no_reply_to_the_next(
    line: redis.Redis, shard: Shard
) -> None:
    stream = shard.keys.transitions
    with pytest.raises(Interrupted), interrupted_after(0.2):
        ask(line, [reading(stream, "0", most=10, wait_ms=2000)])
    assert ask(line, [("XADD", stream, "1-1", "field", "value"), NUMBER]) == ["1-1", 0]


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raises `Interrupted` after that time, wherever the main thread is then."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
