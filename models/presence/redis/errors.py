"""Translates the errors of redis-py into those of `models.presence.errors`."""

from __future__ import annotations

import re

from redis import exceptions

from models.presence.errors import CommandRefused, PresenceError, PresenceUnavailable

_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    # A cluster moves a slot, fails over, or has no node that answers.
    exceptions.AskError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
)
# A server can answer and still not serve: it says "not now" or "not here". Only the
# text of the error tells. redis-py has classes for some of these errors only. A
# pipeline writes its own words in front of the code, and so does Redis 6 in a script.
_BEFORE_CODE = r"(?:^|caused error: |: -)"
_UNAVAILABLE_REPLY = re.compile(
    _BEFORE_CODE + r"(?:BUSY|CLUSTERDOWN|DENIED|LOADING|MASTERDOWN|MISCONF|NOAUTH"
    r"|NOPERM|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|WRONGPASS)\b"
    # NOPERM for a command in a script. First Valkey and Redis 7.2, then older ones.
    r"|ACL failure in script"
    r"|The user executing the script can't "
    # An operator has stopped a script that took too long.
    r"|Script killed by user"
    r"|max number of clients"
)
# The server was the primary and has become a replica. UNBLOCKED: it became one during
# a blocking read.
_DEMOTED_REPLY = re.compile(_BEFORE_CODE + r"(?:MASTERDOWN|READONLY|UNBLOCKED)\b")


def translated(error: exceptions.RedisError) -> PresenceError:
    """Our error for an error of redis-py. Raise it `from` that error."""
    text = reply_text(error)
    if isinstance(error, _UNAVAILABLE):
        return PresenceUnavailable(f"Redis is not available: {text}")
    if isinstance(error, exceptions.ResponseError):
        if _UNAVAILABLE_REPLY.search(text):
            return PresenceUnavailable(f"Redis is not available: {text}")
        return CommandRefused(text)
    return PresenceError(text)


def reply_text(error: BaseException) -> str:
    """The error reply as the server sent it. redis-py cuts the code off some of
    them."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)


def is_demotion(error: exceptions.ResponseError) -> bool:
    """Whether `error` says that the server is no longer the primary."""
    return bool(_DEMOTED_REPLY.search(reply_text(error)))
