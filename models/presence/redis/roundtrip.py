"""One round trip to one server: all commands out, then all replies back.

The library's own way serves any command: it looks up how each reply is to be parsed,
keeps figures, and builds a pipeline where there are two. A change makes five round
trips on its way to a friend, and that was much of what each cost us. So commands are
packed here, by the library's own packer, and sent on the library's connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

Command = tuple[Any, ...]
"""The words of one Redis command: texts, bytes and whole numbers."""

TRIES = 20
"""Times that a command is sent again whose keys are moved to another node just now."""
BETWEEN_TRIES = 0.025
"""Seconds between two of them."""


def packed(commands: Sequence[Command]) -> list[bytes]:
    """`commands` as a connection sends them, in one piece."""
    return [b"".join([hiredis.pack_command(words) for words in commands])]


def replies(connection: Any, count: int, *, raw: bool = False) -> list[Any]:  # noqa: ANN401 - untyped
    """The next `count` replies on `connection`. One that is an error is in its place:
    there is more to read behind it. `raw`: bytes instead of text."""
    found: list[Any] = []
    for _ in range(count):
        try:
            found.append(connection.read_response(disable_decoding=raw))
        except ResponseError as error:
            found.append(error)
    return found


def whole(found: list[Any]) -> list[Any]:
    """The replies `found`.

    Raises:
        redis.exceptions.ResponseError: the first of them that is an error.
    """
    for reply in found:
        if isinstance(reply, ResponseError):
            raise reply
    return found


def _no_scripts() -> Sequence[Command]:
    return ()


def ask(
    client: redis.Redis,
    commands: Sequence[Command],
    loads: Callable[[], Sequence[Command]] = _no_scripts,
    *,
    raw: bool = False,
) -> list[Any]:
    """The replies to `commands`, as they came: nothing but text is decoded, and that
    neither where `raw`. Where the connection turns out to be dead, they are sent again
    as its `retry` says. `loads` gives the commands that load the scripts that they run.

    Raises:
        redis.exceptions.RedisError: the server did not answer, or the first error among
            the replies.
    """
    found = _ask(client, commands, raw=raw)
    try:
        return whole(found)
    except MovedError:
        raise
    except (AskError, TryAgainError):
        return whole(_followed(client, commands, found, loads, raw=raw))


def _ask(client: redis.Redis, commands: Sequence[Command], *, raw: bool) -> list[Any]:
    if not commands:
        return []
    data = packed(commands)
    pool = client.connection_pool
    connection: Any = pool.get_connection()

    def attempt() -> list[Any]:
        connection.send_packed_command(data)
        return replies(connection, len(commands), raw=raw)

    try:
        found: list[Any] = connection.retry.call_with_retry(
            attempt, lambda _error: connection.disconnect()
        )
    except BaseException:
        connection.disconnect()  # what was not read must not be the next one's answer
        raise
    finally:
        pool.release(connection)
    return found


def _followed(
    client: redis.Redis,
    commands: Sequence[Command],
    found: list[Any],
    loads: Callable[[], Sequence[Command]],
    *,
    raw: bool,
) -> list[Any]:
    """`found`, the replies to `commands`, but of a slot that is moving to another node:
    ASK names the node to which the keys of that one command have gone. TRYAGAIN says
    that some have and some have not. The other commands keep their replies."""
    for _ in range(TRIES):
        for number, reply in enumerate(found):
            if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                together = [*loads(), ("ASKING",), commands[number]]
                found[number] = _asking(client, reply, together, raw=raw)
        again = [n for n, reply in enumerate(found) if isinstance(reply, TryAgainError)]
        if not again:
            break
        time.sleep(BETWEEN_TRIES)
        replies_now = _ask(client, [commands[number] for number in again], raw=raw)
        for number, reply in zip(again, replies_now, strict=True):
            found[number] = reply
    return found


def _asking(
    client: redis.Redis, where: AskError, commands: Sequence[Command], *, raw: bool
) -> Any:  # noqa: ANN401 - as it came
    """The reply of the node that `where` names to the last of `commands`."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "host": where.host, "port": where.port}
    connection = pool.connection_class(**options)
    try:
        connection.send_packed_command(packed(commands))
        return replies(connection, len(commands), raw=raw)[-1]
    finally:
        connection.disconnect()


def reading(stream: str, after: str, most: int, wait_ms: int) -> Command:
    """The command that reads at most `most` entries of `stream` with an id greater than
    `after`, and waits up to `wait_ms` milliseconds for the first one."""
    wait_ms = max(1, wait_ms)  # 0 would be: for ever
    return ("XREAD", "COUNT", most, "BLOCK", wait_ms, "STREAMS", stream, after)


def entries_of(reply: Any) -> list[tuple[str, list[bytes]]]:  # noqa: ANN401 - raw
    """What `reading` was answered, raw: each entry's id, and its fields and values in
    turn. Anybody may have written these, so they need not be text."""
    if not reply:
        return []
    # A map in the newer protocol, a list of pairs in the older.
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return with_ids(entries)


def with_ids(entries: Any) -> list[tuple[str, list[bytes]]]:  # noqa: ANN401 - raw
    """Raw `entries` of a stream with their ids as text."""
    return [(entry_id.decode(), fields) for entry_id, fields in entries]
