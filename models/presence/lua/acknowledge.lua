-- Purpose: acknowledge published entries, and note for each webhook receiver which users
--          have changed. One step: a change leaves the outbox only for these sets. Loaded
--          after clock.lua in front of drain and drain_end.
-- KEYS:    1 outbox, 3 number of entries that drainers have taken, then per receiver:
--          changed users, state
-- ARGV:    from `first` on: number of entries, their ids, '1' if one could not be read,
--          then per change: its number, user id
-- Each receiver has the number of entries that were taken when it was last noted. If this
-- is not the present number, changes have gone without the receiver: its URL is new, or a
-- worker did not have it, or entries were lost. Then the receiver hears of all users again.

local function acknowledge(first)
  local before = #KEYS > 3 and (redis.call('GET', KEYS[3]) or '0')
  local taken, changes = before, first + ARGV[first] + 2
  if changes > first + 2 then
    local gone = redis.call('XDEL', KEYS[1], unpack(ARGV, first + 1, changes - 2))
    taken = ms(redis.call('INCRBY', KEYS[3], gone))
  end
  for i = 4, #KEYS, 2 do
    local known = redis.call('HGET', KEYS[i + 1], 'taken')
    if known ~= before or ARGV[changes - 1] == '1' then
      redis.call('HDEL', KEYS[i + 1], 'walk')
    end
    if known ~= taken then redis.call('HSET', KEYS[i + 1], 'taken', taken) end
    -- LT: the oldest number stays, so that the type of the event is right.
    if ARGV[changes] then redis.call('ZADD', KEYS[i], 'LT', unpack(ARGV, changes)) end
  end
end
