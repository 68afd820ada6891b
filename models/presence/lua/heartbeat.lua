-- Purpose: move the deadlines of a gateway process and of its connections that gave a
--          sign of life. Revives nothing: what is not there is answered as gone.
-- KEYS:    1 online_users, 2 deadlines, 3 gateways, 4 users of this gateway, 5 epoch,
--          then per connection: status, connections
-- ARGV:    1 online TTL (ms), 2 gateway id, 3 gateway TTL (ms),
--          4 its deadline as it was last told, 0 for none, 5 JSON array,
--          per connection: user id, connection id, age of the heartbeat (ms)
-- Returns: {lapsed, the gateway's new deadline (ms), number of the first gone
--          connection, second, ...}, numbered from 0; lapsed is 1 where this gateway is
--          unknown or was overdue, or its deadline is not the one it was told: others
--          may have released its connections, so it has to register all of them anew

local call, ttl = redis.call, tonumber(ARGV[1])

local deadline = tonumber(call('ZSCORE', KEYS[3], ARGV[2]) or 0)
local last_told = tonumber(ARGV[4])
if deadline < last_told then
  -- Redis came back empty, or with an older state. Clients may know of changes that it
  -- does not: what it says now has to count as newer than all of them.
  call('SET', KEYS[5], ms(now))
  call('DEL', KEYS[4])
end
-- A later one than told: that answer was lost, and a lapse may have been in it.
local lapsed = deadline <= now or (last_told > 0 and deadline ~= last_told)
local reply = {lapsed and 1 or 0, ms(now + ARGV[3])}
call('ZADD', KEYS[3], reply[2], ARGV[2])

-- Both have all who are online. Where somebody else took one out, each is looked up.
local agree = call('SCARD', KEYS[1]) == call('ZCARD', KEYS[2])
local function is_online(user)
  return call('SISMEMBER', KEYS[1], user) == 1 and call('ZSCORE', KEYS[2], user)
end

local byte, turn = string.byte, math.floor(now / ttl)
local signs, moves = cjson.decode(ARGV[5]), {}
for i = 0, #signs / 3 - 1 do
  local user, connection, age = signs[1 + i * 3], signs[2 + i * 3], signs[3 + i * 3]
  local status, connections = KEYS[6 + i * 2], KEYS[7 + i * 2]
  local moved = now - age + ttl
  -- What this moves is there. What it does not may be there, and later already.
  if (agree or is_online(user))
    and (call('ZADD', connections, 'XX', 'GT', 'CH', moved, connection) == 1
      or call('ZSCORE', connections, connection)) then
    moves[#moves + 1] = moved
    moves[#moves + 1] = user
    if (byte(user, -1) + turn) % TURNS == 0 then keep(connections, ttl) end
    if call('HSET', status, 'last_seen', now - age) == 1 then
      -- The hash had expired while its user is still announced as online.
      call('HSET', status, 'status', 'online', 'updated_at', now)
      call('PEXPIRE', status, ttl - age)
    end
    -- Never shorter: another device may have given a later sign of life.
    call('PEXPIRE', status, ttl - age, 'GT')
  else
    reply[#reply + 1] = i
  end
end

if #moves > 0 then call('ZADD', KEYS[2], 'XX', 'GT', unpack(moves)) end
return reply
