-- Purpose: count the open connections of many users. Changes nothing.
-- KEYS:    per user: connections
-- ARGV:    none
-- Returns: {per user: number of open connections}

local reply = {}
for i, connections in ipairs(KEYS) do
  local count = 0
  local live = redis.pcall('ZRANGEBYSCORE', connections, '(' .. ms(now), '+inf')
  if live.err and not live.err:find('WRONGTYPE') then return live end
  for _, connection in ipairs(live) do
    if is_open(connection) then count = count + 1 end
  end
  reply[i] = count
end
return reply
