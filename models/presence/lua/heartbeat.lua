-- Purpose: move forward the deadlines of a gateway process and of its connections that
--          sent a heartbeat. Revives nothing: an unknown connection is answered as gone.
-- KEYS:    1 online_users, 2 deadlines, 3 gateways, 4 users of this gateway, 5 epoch,
--          then per connection: status, connections
-- ARGV:    1 online TTL (ms), 2 gateway id, 3 gateway TTL (ms), 4 the deadline that the
--          gateway last got, 0 for none, 5 JSON: {user ids, connection ids, ages of the
--          heartbeats (ms)}, one of each per connection
-- Returns: {lapsed, the gateway's new deadline (ms), numbers of the connections that are
--          gone, from 0, maybe twice}. lapsed is 1 if this gateway is unknown or overdue,
--          has another deadline than it last got, or has lost its users. The gateway must
--          then register all connections again.

local call, ttl = redis.call, tonumber(ARGV[1])

local deadline = tonumber(call('ZSCORE', KEYS[3], ARGV[2]) or 0)
local last_deadline = tonumber(ARGV[4])
if deadline < last_deadline then
  -- Redis came back empty or with an older state. Clients may have seen changes that Redis
  -- has lost. So all statuses from now on must be newer than those changes.
  call('SET', KEYS[5], ms(now))
  call('DEL', KEYS[4])
end
-- A later deadline: the reply with it was lost, and may have said lapsed.
local lapsed = deadline <= now or (last_deadline > 0 and deadline ~= last_deadline)
local reply = {lapsed and 1 or 0, ms(now + ARGV[3])}
call('ZADD', KEYS[3], reply[2], ARGV[2])

local users, connection_ids, ages = unpack(cjson.decode(ARGV[5]))
local online = #users > 0 and call('SMISMEMBER', KEYS[1], unpack(users))

local moves, size, turn = {}, 0, math.floor(now / ttl)
for i, user in ipairs(users) do
  local status, connections = KEYS[4 + i * 2], KEYS[5 + i * 2]
  local connection, beat = connection_ids[i], now - ages[i]
  -- If ZADD moves the connection, it exists. If not, it may exist with a later deadline.
  if online[i] == 1
    and (call('ZADD', connections, 'XX', 'GT', 'CH', beat + ttl, connection) == 1
      or call('ZSCORE', connections, connection)) then
    moves[size + 1], moves[size + 2], size = beat + ttl, user, size + 2
    if (user:byte(-1) + turn) % TURNS == 0 then keep(connections, ttl) end
    -- 1: the hash had expired, but the user is still announced as online.
    if call('HSET', status, 'last_seen', beat) == 1 then
      call('HSET', status, 'status', 'online', 'updated_at', now)
      call('PEXPIRE', status, ttl - ages[i])
    end
    -- Never shorten the TTL: another device may have sent a later heartbeat.
    call('PEXPIRE', status, ttl - ages[i], 'GT')
  else
    reply[#reply + 1] = i - 1
  end
end

if size > 0 and call('EXISTS', KEYS[4]) == 0 then reply[1] = 1 end -- it was deleted
if size > 0 and call('ZADD', KEYS[2], 'XX', 'GT', 'CH', unpack(moves)) < size / 2 then
  -- Some were not moved: look each of them up.
  for i, user in ipairs(users) do
    if not call('ZSCORE', KEYS[2], user) then reply[#reply + 1] = i - 1 end
  end
end
return reply
