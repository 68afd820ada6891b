"""One round trip to one Redis server: send all commands, then read all replies.

This module stands in for `redis.Redis.execute_command` and redis-py's pipelines. It
uses the library's connections, pools and reply parser, and hiredis to pack commands. It
leaves out what the library does around each command:

- a parser per command name: replies come as RESP has them, for example flat lists
- metrics and events per command
- a pipeline object and its command stack
- client-side caching and backoff between attempts

The reason is speed: a status change takes five round trips to reach a friend, and the
library's own work was much of their cost. `tests/presence/test_roundtrip.py` compares
packed commands and replies with the library's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import (
    AskError,
    ConnectionError,  # noqa: A004 - the library's name for it
    MovedError,
    NoScriptError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the same
    TryAgainError,
)

from models.presence.redis.commands import Command, load_scripts

TRIES = 20
"""How many times a command is sent again while its keys move to another node."""
BETWEEN_TRIES = 0.025
"""Seconds between two of these attempts."""


def roundtrip(
    client: redis.Redis, commands: Sequence[Command], *, raw: bool = False
) -> list[Any]:
    """Send `commands` to the server of `client` and return their replies, in order.

    Replies are not parsed further; text is decoded, unless `raw`. If the connection is
    lost, the commands are sent again on a new one, as often as the `retry` of the
    connection allows. Scripts that the server lacks are loaded.

    Raises:
        redis.exceptions.RedisError: the server did not answer, or the first error among
            the replies.
    """
    if not commands:
        return []
    replies = _exchange(client, commands, raw=raw)
    for reply in replies:
        if isinstance(reply, ResponseError):
            return _recovered(client, commands, replies, raw=raw)
    return replies


def packed(commands: Sequence[Command]) -> list[bytes]:
    """`commands` as one piece of bytes, as `send_packed_command` takes it."""
    return [b"".join(map(hiredis.pack_command, commands))]


def read_replies(connection: Any, count: int, *, raw: bool = False) -> list[Any]:  # noqa: ANN401 - untyped
    """Read the next `count` replies. An error reply is returned in its place, because
    the replies behind it must be read too."""
    replies: list[Any] = []
    for _ in range(count):
        try:
            replies.append(connection.read_response(disable_decoding=raw))
        except ResponseError as error:
            replies.append(error)
    return replies


def _exchange(
    client: redis.Redis, commands: Sequence[Command], *, raw: bool
) -> list[Any]:
    data = packed(commands)
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    tries = 1 + connection.retry.get_retries()
    try:
        while True:
            tries -= 1
            try:
                connection.send_packed_command(data)
                return read_replies(connection, len(commands), raw=raw)
            except (ConnectionError, TimeoutError):
                connection.disconnect()
                if tries <= 0:
                    raise
    except BaseException:
        # An unread reply would be taken for the reply to the next command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _recovered(
    client: redis.Redis, commands: Sequence[Command], replies: list[Any], *, raw: bool
) -> list[Any]:
    """Repeat what failed, if that can help: a script was not loaded, or a slot is
    moving to another node. Returns the replies after that.

    Raises:
        redis.exceptions.ResponseError: the first error that is left.
    """
    if any(isinstance(reply, NoScriptError) for reply in replies):
        # All commands are sent again: every script may be repeated.
        loads = load_scripts(commands)
        found = _exchange(client, [*loads, *commands], raw=raw)
        _raise_first_error(found[: len(loads)])
        replies = found[len(loads) :]
    first = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
    if isinstance(first, AskError | TryAgainError) and not isinstance(
        first, MovedError
    ):
        replies = _followed(client, commands, replies, raw=raw)
    _raise_first_error(replies)
    return replies


def _raise_first_error(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply


def _followed(
    client: redis.Redis, commands: Sequence[Command], replies: list[Any], *, raw: bool
) -> list[Any]:
    """Repeat commands whose slot is moving to another node. Returns all replies. ASK
    names the node that already has the keys of the command. TRYAGAIN says that this
    node has only some of the keys, so the command waits. All other replies stay."""
    for _ in range(TRIES):
        for number, reply in enumerate(replies):
            if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                replies[number] = _asked(client, reply, commands[number], raw=raw)
        again = [
            n for n, reply in enumerate(replies) if isinstance(reply, TryAgainError)
        ]
        if not again:
            break
        time.sleep(BETWEEN_TRIES)
        replies_now = _exchange(client, [commands[n] for n in again], raw=raw)
        for number, reply in zip(again, replies_now, strict=True):
            replies[number] = reply
    return replies


def _asked(client: redis.Redis, node: AskError, command: Command, *, raw: bool) -> Any:  # noqa: ANN401 - as it came
    """Send `command` to the node that ASK has named, and return its reply."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "host": node.host, "port": node.port}
    connection = pool.connection_class(**options)
    together = [*load_scripts([command]), ("ASKING",), command]
    try:
        connection.send_packed_command(packed(together))
        return read_replies(connection, len(together), raw=raw)[-1]
    finally:
        connection.disconnect()
