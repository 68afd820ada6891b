-- Purpose: make a transition: state and outbox entry in one step. Loaded after clock.lua
--          in front of connect and expire; no other code makes a transition.
-- KEYS:    3 outbox stream, 4 drainer
-- A user's timestamp is max(previous + 1, now), a hybrid logical clock (Kulkarni et al.,
-- 2014). So it strictly increases, even if a clock steps back.

local OUTBOX_MAX = 100000 -- entries, about 10 MB: a bound on memory if no worker drains.
                           -- Entries cut off lead to fresh snapshots (missed.lua)
local VERSION = 2          -- of an entry's fields, as in models.events
local DETAIL_VERSION = 3   -- of a change of detail, which an older worker cannot read
local REQUEST_MS = 2000    -- a requested drain that has not begun is requested again

local transitions = 0
local cause = ''           -- what has caused the next changes (models/telemetry/causes.py)

-- The newest number of the user's sequence: of a transition, or of another change. Also
-- returns whether the status has fields of idleness.
local function last_number(status_key)
  local newest = 0
  local stored = redis.call('HMGET', status_key, 'updated_at', 'sequence',
    'idle_since', 'active_since', 'idle_connections')
  for i = 1, 2 do
    local number = tonumber(stored[i] or 0) or 0
    -- Ignore a larger number: another program wrote it.
    if number < 2^53 and number > newest then newest = number end
  end
  return newest, stored[3] or stored[4] or stored[5]
end

local function add_entry(version, ...)
  if cause == '' then
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', OUTBOX_MAX, '*', 'v', version, ...)
  else
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', OUTBOX_MAX, '*', 'v', version,
      'cause', cause, ...)
  end
  transitions = transitions + 1
end

-- Since when the user is idle and since when active, as the fields of an entry. A user who
-- was never idle is active since the transition. Leaves out what is no time, because
-- another program wrote it.
local function activity_fields(status_key)
  local stored = redis.call('HMGET', status_key, 'idle_since', 'active_since', 'updated_at')
  local times = {}
  for i = 1, 3 do
    local time = tonumber(stored[i] or '')
    times[i] = time and time >= 0 and time < 2^53 and ms(time) or ''
  end
  local active_since = times[2] ~= '' and times[2] or times[3]
  return 'idle_since', times[1], 'active_since', active_since
end

-- A change of the user's detail. `kind` is 'set' if somebody has set it, and 'activity' if
-- the user has become idle or active.
local function add_detail_entry(user, status_key, kind)
  local number = ms(math.max(last_number(status_key) + 1, now))
  redis.call('HSET', status_key, 'sequence', number)
  add_entry(DETAIL_VERSION, 'user_id', user, 'timestamp', number, 'detail', kind,
    activity_fields(status_key))
end

local function transition(user, status, status_key, last_seen, ttl)
  local newest, has_activity = last_number(status_key)
  local timestamp = math.max(newest + 1, now)
  redis.call('HSET', status_key, 'status', status,
    'last_seen', last_seen, 'updated_at', timestamp)
  if has_activity then
    redis.call('HDEL', status_key, 'idle_since', 'active_since', 'idle_connections')
  end
  -- If the clock stepped back, the timestamp is in the future. Keep it until it has passed.
  redis.call('PEXPIRE', status_key, math.max(ttl, timestamp + 10 - now))
  add_entry(VERSION, 'user_id', user, 'status', status, 'timestamp', timestamp,
    'last_seen', ms(last_seen))
  return ms(timestamp)
end

-- 1 if the caller must request a drain: there is a new entry, there is no drainer, and no
-- drain was requested in the last two seconds.
local function needs_drain()
  if transitions == 0 then return 0 end
  if redis.call('SET', KEYS[4], 'requested', 'NX', 'PX', REQUEST_MS) then return 1 end
  return 0
end
