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


_AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    # A cluster that moves a slot or fails over, or of which no node answers.
    redis.exceptions.AskError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
)
# Error replies of a server that answers, but not with what was asked for: "not now", or
# "not I". They are known by their text. The library has classes for some of them only,
# a pipeline writes more in front of the code, and so does Redis 6 in a script.
_BEFORE_CODE = r"(?:^|caused error: |: -)"
_AWAY_REPLY = re.compile(
    _BEFORE_CODE + r"(?:BUSY|CLUSTERDOWN|DENIED|LOADING|MASTERDOWN|MISCONF|NOAUTH"
    r"|NOPERM|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|WRONGPASS)\b"
    # NOPERM for a command in a script: Valkey and Redis 7.2, and older ones.
    r"|ACL failure in script"
    r"|The user executing the script can't "
    # An operator has ended a script that took too long.
    r"|Script killed by user"
    r"|max number of clients"
)
# The server was the primary, and is none any more. UNBLOCKED: it became a replica while
# we waited at it.
_DEMOTED_REPLY = re.compile(_BEFORE_CODE + r"(?:MASTERDOWN|READONLY|UNBLOCKED)\b")


def reply_of(error: BaseException) -> str:
    """The reply that became `error`: the library takes the code of some away."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)


def says_away(error: BaseException) -> bool:
    """Whether `error` says that the server is away, or cannot serve now."""
    return isinstance(error, _AWAY) or (
        isinstance(error, redis.exceptions.ResponseError)
        and bool(_AWAY_REPLY.search(reply_of(error)))
    )


def says_demoted(error: redis.exceptions.ResponseError) -> bool:
    """Whether `error` says that the server is not the primary any more: whoever asks
    again has to find the one that is."""
    return bool(_DEMOTED_REPLY.search(reply_of(error)))


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
        if error is not None and says_away(error):
            message = f"Redis is not available: {reply_of(error)}"
            raise PresenceUnavailable(message) from error


translated = _Translated()
