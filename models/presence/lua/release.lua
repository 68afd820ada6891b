-- Purpose: remove connections, with grace. The user's deadline becomes the latest of the
--          connections that are left. The grace counts as a connection that no heartbeat
--          can renew. Makes nobody offline; only expire does.
-- KEYS:    1 deadlines, 2 users of this gateway, then per connection: status, connections
-- ARGV:    1 gateway id, 2 online TTL (ms), 3 JSON array,
--          per connection: user id, connection id, ms since its end, grace (ms)
-- Returns: number of connections that existed

local here = ARGV[1] .. ':'
local ttl = tonumber(ARGV[2])
local released = 0

local function is_held_here(connections)
  for _, connection in ipairs(redis.call('ZRANGE', connections, 0, -1)) do
    if connection:sub(1, #here) == here and is_open(connection) then
      return true
    end
  end
  return false
end

local closed = cjson.decode(ARGV[3])
for i = 0, #closed / 4 - 1 do
  local user, connection = closed[1 + i * 4], closed[2 + i * 4]
  local ended, grace = now - closed[3 + i * 4], closed[4 + i * 4]
  local status, connections = KEYS[3 + i * 2], KEYS[4 + i * 2]
  if redis.call('ZREM', connections, connection) == 1 then
    released = released + 1
    if grace > 0 then
      -- Under another name, so that a heartbeat on its way cannot prolong it.
      redis.call('ZADD', connections, ms(ended + grace), connection .. RELEASED)
      -- Removing the last member has deleted the key and its TTL.
      keep(connections, ttl)
    end
    local last = redis.call('ZRANGE', connections, -1, -1, 'WITHSCORES')
    redis.call('ZADD', KEYS[1], last[2] or ms(now), user)
    if redis.call('EXISTS', status) == 1 then
      redis.call('HSET', status, 'last_seen', ms(ended))
      -- The user was there until then. expire reads this when the grace is over.
      redis.call('PEXPIRE', status, ms(ended + ttl - now), 'GT')
    end
  end
  if not is_held_here(connections) then
    redis.call('SREM', KEYS[2], user)
  end
end

return released
