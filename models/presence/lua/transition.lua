-- Purpose: the one way in which a transition is made: state and outbox entry together.
--          Loaded, after the clock, in front of connect and expire.
-- KEYS:    3 outbox stream, 4 drainer
-- Source of the timestamp rule: per user it is max(previous + 1, now), a hybrid logical
-- clock (Kulkarni et al., 2014), so it strictly increases though clocks step back.

local OUTBOX_MOST = 100000 -- entries; a bound on memory where no worker drains, some 10 MB.
                           -- What is cut off is made good by fresh snapshots (owed.lua)
local VERSION = 1          -- of an entry's fields, as models.events has it
local REQUEST_MS = 2000     -- a requested drain that did not begin is asked for again

local transitions = 0

local function transition(user, status, status_key, last_seen, ttl)
  local previous = tonumber(redis.call('HGET', status_key, 'updated_at') or 0) or 0
  if not (previous < 2^53) then previous = 0 end -- somebody else wrote it there
  local timestamp = math.max(previous + 1, now)
  redis.call('HSET', status_key, 'status', status,
    'last_seen', last_seen, 'updated_at', timestamp)
  -- A timestamp ahead of a clock that stepped back must be remembered until it is past.
  redis.call('PEXPIRE', status_key, math.max(ttl, timestamp + 10 - now))
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', OUTBOX_MOST, '*',
    'user_id', user, 'status', status, 'timestamp', timestamp, 'v', VERSION)
  transitions = transitions + 1
  return ms(timestamp)
end

-- 1 where the caller has to start a drain: there is something to drain, nobody drains,
-- and nobody has asked for it in the last two seconds.
local function needs_drain()
  if transitions == 0 then return 0 end
  if redis.call('SET', KEYS[4], 'requested', 'NX', 'PX', REQUEST_MS) then return 1 end
  return 0
end
