"""The errors of the presence store.

PresenceError
└── PresenceUnavailable    Redis did not answer; nothing is known to have happened
"""

from __future__ import annotations

import re

import redis.exceptions


class PresenceError(Exception):
    """What the presence store raises, whatever the reason."""


class PresenceUnavailable(PresenceError):
    """Redis cannot be reached or is not able to serve now. Retrying later is safe:
    every operation of the store may be repeated."""


# A server that loads its data, fails over or is out of memory is away as well; so is
# one that takes no writes because its disk is full or its replicas are not there.
_AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    # A cluster that moves a slot or fails over, or of which no node answers.
    redis.exceptions.AskError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
    redis.exceptions.TryAgainError,
)
# Replies that the library has no class for; a pipeline writes more in front of them.
# BUSY: somebody's script runs for seconds. UNBLOCKED: a primary became a replica while
# we waited at it.
_AWAY_REPLY = re.compile(r"(^|caused error: )(MISCONF|NOREPLICAS|BUSY|UNBLOCKED)\b")


class _Translated:
    """`with translated:` turns the library's errors into ours, at the edge.

    A class, and not a generator of `contextlib`: each round trip goes through it.

    Raises:
        PresenceUnavailable: in place of the error that says that Redis is away.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        if error is not None and _says_away(error):
            message = f"Redis is not available: {error}"
            raise PresenceUnavailable(message) from error


translated = _Translated()


def _says_away(error: BaseException) -> bool:
    return isinstance(error, _AWAY) or (
        isinstance(error, redis.exceptions.ResponseError)
        and bool(_AWAY_REPLY.search(str(error)))
    )
