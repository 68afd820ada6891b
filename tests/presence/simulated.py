"""Time that a test controls, under the very scripts that run in production.

A script's text is not changed. In front of it stands a prelude whose local `redis`
passes every call on to the server, but for what has to do with time:

- TIME answers the value of a key that the test sets;
- PEXPIRE and SET ... PX write down until when the key lives, in a sorted set, instead
  of giving the key a TTL that would follow the real clock;
- before the script begins, keys whose written-down time has passed are deleted; and a
  key that a command has emptied loses its entry, as a real key loses its TTL.

Only keys that scripts expire are treated so. XADD ids keep following the real clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
import redis

from models.presence.redis import commands

NOW = "simulated:now"
TTLS = "simulated:ttls"

PRELUDE = """
local redis = (function(server)
  local NOW, TTLS = 'simulated:now', 'simulated:ttls'
  local now = tonumber(server.call('GET', NOW))
  for _, key in ipairs(server.call('ZRANGEBYSCORE', TTLS, '-inf', '(' .. now)) do
    server.call('DEL', key)
    server.call('ZREM', TTLS, key)
  end

  local function pexpire(key, after, option)
    local known, at = tonumber(server.call('ZSCORE', TTLS, key) or nil), now + after
    if server.call('EXISTS', key) == 0 then return 0 end
    if option == 'GT' and (not known or at <= known) then return 0 end
    assert(option == nil or option == 'GT', 'not simulated')
    if at <= now then
      server.call('ZREM', TTLS, key)
      return server.call('DEL', key)
    end
    server.call('ZADD', TTLS, string.format('%.0f', at), key)
    return 1
  end

  local function set(key, value, ...)
    local rest, after = {}, nil
    local options = {...}
    for i, option in ipairs(options) do
      if option == 'PX' then after = tonumber(options[i + 1])
      elseif options[i - 1] ~= 'PX' then rest[#rest + 1] = option end
    end
    local reply = server.call('SET', key, value, unpack(rest))
    if reply then
      server.call('ZREM', TTLS, key)
      if after then pexpire(key, after) end
    end
    return reply
  end

  local function call(command, ...)
    if command == 'TIME' then
      return {tostring(math.floor(now / 1000)), tostring(now % 1000 * 1000)}
    end
    if command == 'PEXPIRE' then return pexpire(...) end
    if command == 'SET' then return set(...) end
    local key, reply = ..., server.call(command, ...)
    if server.call('EXISTS', key) == 0 then server.call('ZREM', TTLS, key) end
    return reply
  end

  return {call = call, pcall = server.pcall}
end)(redis)
"""


class SimulatedTime:
    """The time of one server's scripts while `installed`. Milliseconds."""

    def __init__(self, client: redis.Redis, start: int = 1_000_000_000_000) -> None:
        self._client = client
        self._pass = client.register_script(PRELUDE + "return 1")
        self.latest = start
        self.set(start)

    def set(self, now: int) -> None:
        """It is `now`, which may be before what it was."""
        self.now = now
        self.latest = max(self.latest, now)
        self._client.set(NOW, now)
        self._pass()

    def expires_at(self, key: str) -> int | None:
        """Until when `key` lives; None: it never expires."""
        score = self._client.zscore(TTLS, key)
        return None if score is None else int(score)

    def forget(self) -> None:
        """Remove what the simulation keeps on the server."""
        self._client.delete(NOW, TTLS)


@contextmanager
def installed() -> Iterator[None]:
    """Every script call of this process takes the simulated time."""
    real = commands.source

    @cache
    def source(name: str) -> str:
        parts = re.match(r"(#!.*\n)?([\s\S]*)", real(name))
        assert parts is not None
        flags, text = parts.groups()
        return (flags or "") + PRELUDE + text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "source", source)
        commands._digest.cache_clear()
        yield
    commands._digest.cache_clear()
