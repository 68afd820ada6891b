-- Purpose: acknowledge published entries, and pass them on: transitions to those that are
--          not stored in SQL yet, and to each webhook receiver which users have changed.
--          One step: a change leaves the outbox only for these keys. Loaded after clock.lua
--          in front of drain and drain_end.
-- KEYS:    1 outbox, 3 number of entries that drainers have taken, 4 unstored transitions,
--          5 their state, then per receiver: changed users, state
-- ARGV:    from `first` on: number of entries, their ids, '1' if one could not be read,
--          number of transitions, per transition: user id, status, timestamp, last_seen;
--          then per change: its number, user id
-- Each state has the number of entries that were taken when it was last written. If this
-- is not the present number, changes have gone without its reader: it is new, or a worker
-- did not know it, or entries were lost. Then the reader walks through all users.

local UNSTORED_MAX = 100000 -- entries, about 10 MB: a bound on memory while the database
                            -- accepts no writes

local function add_unstored(...)
  local added = redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', UNSTORED_MAX, '*', 'v', 1, ...)
  if type(added) ~= 'table' or not added.err then return end
  if not added.err:find('WRONGTYPE') then error(added.err) end
  redis.call('DEL', KEYS[4]) -- another program's value
  redis.call('HDEL', KEYS[5], 'walk')
end

local function acknowledge(first)
  local before = redis.call('GET', KEYS[3]) or '0'
  local taken, flag = before, first + ARGV[first] + 1
  if flag > first + 1 then
    local gone = redis.call('XDEL', KEYS[1], unpack(ARGV, first + 1, flag - 1))
    taken = ms(redis.call('INCRBY', KEYS[3], gone))
  end
  for i = 5, #KEYS, 2 do
    local known = redis.call('HGET', KEYS[i], 'taken')
    if known ~= before or ARGV[flag] == '1' then redis.call('HDEL', KEYS[i], 'walk') end
    if known ~= taken then redis.call('HSET', KEYS[i], 'taken', taken) end
  end
  local changes = flag + 2 + ARGV[flag + 1] * 4
  for i = flag + 2, changes - 1, 4 do
    add_unstored('user_id', ARGV[i], 'status', ARGV[i + 1], 'timestamp', ARGV[i + 2],
      'last_seen', ARGV[i + 3])
  end
  -- LT: the oldest number stays, so that the type of the event is right.
  for i = 6, #KEYS, 2 do
    if ARGV[changes] then redis.call('ZADD', KEYS[i], 'LT', unpack(ARGV, changes)) end
  end
end
