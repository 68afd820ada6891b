"""The commands that we send to Redis, and the Lua scripts that most of them run.

Each operation that must be atomic is one file in `models/presence/lua/`. A command
names its script by digest; `roundtrip` loads the script into a server that lacks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import orjson

Argument = str | int | bytes
Command = tuple[Any, ...]
"""The words of one Redis command: text, bytes and integers."""

# Files that are put in front of a script. Scripts that can change a status share
# transition.lua, the only place that makes a transition.
_PROLOGUES = {
    "activity": ("clock", "transition", "idle"),
    "connect": ("clock", "transition", "idle"),
    "detail": ("clock", "transition"),
    "drain": ("clock", "acknowledge"),
    "drain_end": ("clock", "acknowledge"),
    "expire": ("clock", "transition", "idle"),
    "inspect": ("clock", "status"),
    "start_visibility_change": ("clock", "transition", "status"),
    "statuses": ("clock", "status"),
    "publish_visibility_change": ("clock", "transition"),
    "missed": ("clock", "stream"),
    "trim": ("clock", "stream"),
    "unstored_take": ("clock", "stream"),
    "webhook_done": ("clock", "transition", "newest"),
    "webhook_truth": ("clock", "transition", "newest", "status"),
}
_DEFAULT_PROLOGUE = ("clock",)
_FREE_MEMORY = frozenset(
    {
        *("append", "drain", "drain_end", "missed", "trim"),
        *("unstored_take", "unstored_done"),
    }
)
"""Scripts that also run when Redis is out of memory. They empty the outbox, the
gateways' streams and the transitions for SQL. What they add is small, and is soon
deleted, or one entry per user."""
_ALLOW_OOM = "#!lua flags=allow-oom\n"

_sources: dict[str, str] = {}
"""Digest -> text of each script that a command has named."""


@cache
def source(name: str) -> str:
    """The Lua text of the script `name`, prologue included."""
    folder = resources.files("models.presence") / "lua"
    parts = (*_PROLOGUES.get(name, _DEFAULT_PROLOGUE), name)
    text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    return _ALLOW_OOM + text if name in _FREE_MEMORY else text


@cache
def _digest(name: str) -> str:
    # Redis names scripts by SHA-1; nothing here depends on its strength.
    text = source(name)
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    _sources[digest] = text
    return digest


def run_script(
    name: str, keys: Sequence[str], args: Iterable[Argument] = ()
) -> Command:
    """The command that runs the script `name` with these KEYS and ARGV."""
    return ("EVALSHA", _digest(name), len(keys), *keys, *args)


def load_scripts(commands: Iterable[Command]) -> list[Command]:
    """The commands that load the scripts of `commands`."""
    digests = {words[1] for words in commands if words[0] == "EVALSHA"}
    return [("SCRIPT", "LOAD", _sources[digest]) for digest in digests]


json_argument = orjson.dumps
"""Turns a list into one ARGV, which the script decodes. Each argument costs the server
time: with three arguments per connection, a million heartbeats cost a sixth more."""


def read_stream(stream: str, after: str, limit: int, wait_ms: int) -> Command:
    """The command that reads at most `limit` entries of `stream` with an id greater
    than `after`. It waits up to `wait_ms` milliseconds for the first one."""
    wait_ms = max(1, wait_ms)  # 0 would wait for ever
    return ("XREAD", "COUNT", limit, "BLOCK", wait_ms, "STREAMS", stream, after)


def stream_entries(reply: Any) -> list[tuple[str, list[bytes]]]:  # noqa: ANN401 - raw
    """The raw reply to `read_stream`: per entry its id, and its fields and values in
    turn. These stay bytes, because another program may have written them."""
    if not reply:
        return []
    # A map in RESP3, a list of pairs in RESP2.
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return entries_with_ids(entries)


def entries_with_ids(entries: Any) -> list[tuple[str, list[bytes]]]:  # noqa: ANN401 - raw
    """Raw stream `entries` with their ids as text."""
    return [(entry_id.decode(), fields) for entry_id, fields in entries]
