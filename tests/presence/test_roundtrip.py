"""A round trip gets its own replies, all of them, whatever happened to the last one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.connection import PythonRespSerializer
from redis.exceptions import ResponseError

from config import Settings
from models.presence.redis.client import connect
from models.presence.redis.commands import read_stream
from models.presence.redis.roundtrip import packed, roundtrip
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
    (number,) = roundtrip(line, [("CLIENT", "ID")])
    with pytest.raises(ResponseError, match="wrong number of arguments"):
        roundtrip(line, [("ECHO", "before"), ("ECHO",), ("ECHO", "after")])
    # On the same connection: an error is an answer.
    assert roundtrip(line, [("CLIENT", "ID"), NUMBER]) == [number, 0]


def test_nothing_asked_is_nothing_sent(line: redis.Redis) -> None:
    assert roundtrip(line, []) == []


def test_a_dead_connection_is_replaced(line: redis.Redis, client: redis.Redis) -> None:
    (number,) = roundtrip(line, [("CLIENT", "ID")])
    client.client_kill_filter(_id=str(number))
    (other,) = roundtrip(line, [("CLIENT", "ID")])
    assert other != number


def test_who_is_interrupted_leaves_no_reply_to_the_next(
    line: redis.Redis, shard: Shard
) -> None:
    stream = shard.keys.transitions
    with pytest.raises(Interrupted), interrupted_after(0.2):
        roundtrip(line, [read_stream(stream, "0", limit=10, wait_ms=2000)])
    assert roundtrip(line, [("XADD", stream, "1-1", "field", "value"), NUMBER]) == [
        "1-1",
        0,
    ]


# Beside the library: what is sent and what comes back are the same


NAMES = st.text("ABCXYZ", min_size=1)
WORDS = st.one_of(st.text(), st.binary(), st.integers())
REPLIES = st.recursive(
    st.one_of(st.text(max_size=9), st.integers(-(2**53), 2**53), st.booleans()),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=9,
)


@given(st.lists(st.tuples(NAMES, WORDS, WORDS), max_size=5))
def test_commands_are_packed_as_the_library_packs_them(commands):
    library = redis.Connection()
    python = PythonRespSerializer(2**20, library.encoder.encode)
    assert b"".join(packed(commands)) == b"".join(library.pack_commands(commands))
    assert b"".join(packed(commands)) == b"".join(
        piece for words in commands for piece in python.pack(*words)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(REPLIES, min_size=1, max_size=4), st.booleans())
def test_replies_are_parsed_as_the_library_parses_them(line, values, raw):
    commands = [("EVAL", f"return {lua(value)}", 0) for value in values]
    options = {"NEVER_DECODE": True} if raw else {}
    found = roundtrip(line, commands, raw=raw)
    assert found == [line.execute_command(*words, **options) for words in commands]


def lua(value: object) -> str:
    """The value as a Lua expression."""
    if isinstance(value, list):
        return "{" + ",".join(map(lua, value)) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(f"\\{byte:03d}" for byte in str(value).encode()) + '"'


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
