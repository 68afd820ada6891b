"""Loads the Lua scripts and runs them by their digest.

Each operation of the store that must be atomic is one file in `lua/`. A script is sent
to a server once; after a restart of the server it is sent again, unnoticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.exceptions import NoScriptError

from models.presence.errors import translated

# What stands in front of a script. Scripts that may change a status share the one way
# in which a transition is made.
_PROLOGUES = {
    "connect": ("clock", "transition"),
    "expire": ("clock", "transition"),
}
_DEFAULT_PROLOGUE = ("clock",)

Call = tuple[str, Sequence[str], Sequence[str | int]]
"""A script's name, its KEYS and its ARGV."""


@cache
def source(name: str) -> str:
    """The whole Lua text of the script `name`, prologue included."""
    folder = resources.files("models.presence") / "lua"
    parts = (*_PROLOGUES.get(name, _DEFAULT_PROLOGUE), name)
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)


@cache
def _digest(name: str) -> str:
    # Redis names scripts by SHA-1; nothing here depends on its strength.
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The scripts on one Redis server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:  # noqa: ANN401 - a reply has the script's shape
        """Run the script `name` and give its raw reply.

        Raises:
            PresenceUnavailable: Redis did not answer.
        """
        with translated():
            return self._loaded(
                {name},
                lambda: self._redis.evalsha(_digest(name), len(keys), *keys, *args),
            )

    def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run one script after the other, in one round trip, not in one step.

        Raises:
            PresenceUnavailable: Redis did not answer.
        """

        def attempt() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for name, keys, args in calls:
                    pipe.evalsha(_digest(name), len(keys), *keys, *args)
                return pipe.execute()

        with translated():
            replies: list[Any] = self._loaded({name for name, _, _ in calls}, attempt)
            return replies

    def _loaded(self, names: set[str], attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `attempt` gives
        try:
            return attempt()
        except NoScriptError:
            # Every script may be repeated, so those of the pipeline that ran may too.
            for name in names:
                self._redis.script_load(source(name))
            return attempt()
