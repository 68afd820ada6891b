"""Which of the server's replies mean that it is away."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from models.presence import PresenceUnavailable
from models.presence.errors import translated


@pytest.mark.parametrize(
    "reply",
    [
        "MISCONF Redis is configured to save RDB snapshots",
        "Command # 2 (XADD a) of pipeline caused error: NOREPLICAS Not enough",
        "BUSY Redis is busy running a script",
        "UNBLOCKED force unblock from blocking operation, instance state changed",
    ],
)
def test_these_do(reply):
    with pytest.raises(PresenceUnavailable), translated:
        raise ResponseError(reply)


@pytest.mark.parametrize("reply", ["WRONGTYPE Operation", "ERR the key is BUSY"])
def test_these_are_our_own_mistakes(reply):
    with pytest.raises(ResponseError), translated:
        raise ResponseError(reply)
