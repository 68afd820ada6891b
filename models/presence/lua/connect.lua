-- Purpose: make connections live. A user who was not online becomes online, which is a
--          transition. Also registers connections again that Redis has lost.
-- KEYS:    1 online_users, 2 deadlines, 3 outbox, 4 drainer, 5 users of this gateway,
--          then per connection: status, connections
-- ARGV:    1 online TTL (ms), 2 maximum of connections per user, 3 JSON array, per
--          connection: user id, connection id, heartbeat's age (ms), 1 if idle, cause
-- Returns: {1 if the caller must request a drain, per connection: timestamp of the
--          transition, '0' for none, '-1' if refused because the user has too many}

local call = redis.call
local ttl, most, reply = tonumber(ARGV[1]), tonumber(ARGV[2]), {0}

-- The old connection of a reloaded page is in its grace. It must not count.
local function open(connections)
  local count = 0
  for _, connection in ipairs(call('ZRANGE', connections, 0, -1)) do
    if is_open(connection) then count = count + 1 end
  end
  return count
end
local opened = cjson.decode(ARGV[3])
for i = 0, #opened / 5 - 1 do
  local user, connection, age, idle, why = unpack(opened, 1 + i * 5, 5 + i * 5)
  cause = why
  local status, connections = KEYS[6 + i * 2], KEYS[7 + i * 2]
  local known, held = false, call('ZCARD', connections)
  if held > 0 then
    known = call('ZSCORE', connections, connection)
    -- Expired connections must not count against the limit, nor pile up.
    held = held - call('ZREMRANGEBYSCORE', connections, '-inf', '(' .. ms(now))
  end
  if not known and held >= most and open(connections) >= most then
    reply[#reply + 1] = '-1'
  else
    local deadline = now - age + ttl
    call('ZADD', connections, 'GT', deadline, connection)
    keep(connections, ttl)
    local is_latest = call('ZADD', KEYS[2], 'GT', 'CH', deadline, user) == 1
    call('SADD', KEYS[5], user)
    if call('SADD', KEYS[1], user) == 1 then
      -- Another device may have a later deadline: the status lives until then.
      local latest = is_latest and deadline or call('ZSCORE', KEYS[2], user)
      reply[#reply + 1] = transition(user, 'online', status, now - age, latest - now)
      if idle == 1 then set_idle(user, status, connections, connection, true) end
    else
      -- The user is online already: only the status is refreshed.
      if call('HSETNX', status, 'updated_at', now) == 1 then
        call('HSET', status, 'status', 'online')
        call('PEXPIRE', status, ttl - age)
      end
      call('HSET', status, 'last_seen', now - age)
      -- Never shorten the TTL: another device may have sent a later heartbeat.
      call('PEXPIRE', status, ttl - age, 'GT')
      reply[#reply + 1] = '0'
      set_idle(user, status, connections, connection, idle == 1)
    end
  end
end
reply[1] = needs_drain()
return reply
