-- Purpose: remove connections of a dead gateway process. The sweep then expires the users
--          who have none left. Does nothing to a live gateway.
-- KEYS:    1 gateways, 2 users of the gateway, 3 its event stream, 4 deadlines,
--          then per user: connections
-- ARGV:    1 gateway id, then per user: user id
-- Returns: 1 if the gateway is dead, 0 if it is alive

local here = ARGV[1] .. ':'

local deadline = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if deadline > now then return 0 end

for i = 2, #ARGV do
  local user, connections = ARGV[i], KEYS[3 + i]
  for _, connection in ipairs(redis.call('ZRANGE', connections, 0, -1)) do
    -- A released connection keeps its grace: its client may be reconnecting.
    if connection:sub(1, #here) == here and is_open(connection) then
      redis.call('ZREM', connections, connection)
    end
  end
  if redis.call('ZSCORE', KEYS[4], user) then
    local last = redis.call('ZRANGE', connections, -1, -1, 'WITHSCORES')
    redis.call('ZADD', KEYS[4], last[2] or ms(now), user)
  end
  redis.call('SREM', KEYS[2], user)
end

if redis.call('SCARD', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3])
end
return 1
