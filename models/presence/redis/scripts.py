"""Loads the Lua scripts and runs them by their digest.

Each operation of the store that must be atomic is one file in `lua/`. A script is sent
to a server once; after a restart of the server it is sent again, unnoticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson
import redis
from redis.exceptions import NoScriptError

from models.presence.redis.roundtrip import Command, ask

if TYPE_CHECKING:
    from models.presence.redis.backend import Link

# What stands in front of a script. Scripts that may change a status share the one way
# in which a transition is made.
_PROLOGUES = {
    "connect": ("clock", "transition"),
    "expire": ("clock", "transition"),
    "owed": ("clock", "stream"),
    "trim": ("clock", "stream"),
}
_DEFAULT_PROLOGUE = ("clock",)
_FREE_MEMORY = frozenset({"append", "drain", "drain_end", "owed", "trim"})
"""Scripts that a full Redis runs as well: if the outbox could not be drained there, it
would keep Redis full. What these scripts add is small and soon deleted."""
_ALLOW_OOM = "#!lua flags=allow-oom\n"

Argument = str | int | bytes
Call = tuple[str, Sequence[str], Sequence[Argument]]
"""A script's name, its KEYS and its ARGV."""


@cache
def source(name: str) -> str:
    """The whole Lua text of the script `name`, prologue included."""
    folder = resources.files("models.presence") / "lua"
    parts = (*_PROLOGUES.get(name, _DEFAULT_PROLOGUE), name)
    text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    return _ALLOW_OOM + text if name in _FREE_MEMORY else text


@cache
def _digest(name: str) -> str:
    # Redis names scripts by SHA-1; nothing here depends on its strength.
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def in_one(values: Sequence[object]) -> bytes:
    """`values` as one argument, which the script decodes: a JSON array. A server takes
    longer over every argument: with three for each connection a million heartbeats
    cost a sixth more."""
    return orjson.dumps(values)


def words(name: str, keys: Sequence[str], args: Sequence[Argument]) -> Command:
    """The command that runs the script `name`, for a pipeline of such commands."""
    return ("EVALSHA", _digest(name), len(keys), *keys, *args)


def pipelined(
    client: redis.Redis,
    commands: Sequence[Command],
    names: Iterable[str],
    *,
    raw: bool = False,
) -> list[Any]:
    """As `ask`, for `commands` that run the scripts `names`. Where the server does not
    know them, it gets them first."""

    def loads() -> list[Command]:
        return [("SCRIPT", "LOAD", source(name)) for name in names]

    try:
        return ask(client, commands, loads, raw=raw)
    except NoScriptError:
        # Every script may be repeated, so those of a pipeline that ran may too.
        return ask(client, [*loads(), *commands], loads, raw=raw)[-len(commands) :]


class Scripts:
    """The scripts on the server of one shard."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:  # noqa: ANN401 - a reply has the script's shape
        """Run the script `name` and give its raw reply.

        Raises:
            PresenceUnavailable: Redis did not answer.
        """
        (reply,) = self.run_many([(name, keys, args)])
        return reply

    def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run one script after the other, in one round trip, not in one step. Gives
        their raw replies.

        Raises:
            PresenceUnavailable: Redis did not answer.
        """
        names = {name for name, _, _ in calls}
        commands = [words(*call) for call in calls]
        return self._link.call(lambda client: pipelined(client, commands, names))
