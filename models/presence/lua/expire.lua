-- Purpose: make users offline whose latest deadline has passed. No other script makes a
--          user offline, so a late call cannot hide a user who came back.
-- KEYS:    1 online_users, 2 deadlines, 3 outbox, 4 drainer, 5 gateways,
--          then per user: status, connections
-- ARGV:    1 online TTL (ms), 2 offline TTL (ms), 3 id of the gateway that calls, '' for
--          a sweep, 4 the deadline that the gateway last got, or the time until which the
--          sweep's survey is valid, 0 for none, then per user: user id, cause
-- Returns: {1 if the caller must request a drain, per user: timestamp of the transition,
--          '0' for none}. {-1} if ARGV 4 has passed, or is a deadline that Redis does not
--          know. Then Redis has lost state, or stood still while this call was on its
--          way. Live connections of other gateways may be missing in it. {-2} if a
--          heartbeat of the gateway arrived first. The reply to that heartbeat tells
--          whether Redis stood still.

local ttl, offline_ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = {0}

local valid_until = tonumber(ARGV[4])
if valid_until > 0 and valid_until <= now then return {-1} end
if valid_until > 0 and ARGV[3] ~= '' then
  local known = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[3]) or 0)
  if known < valid_until then return {-1} end
  if known > valid_until then return {-2} end
end

for i = 0, (#ARGV - 4) / 2 - 1 do
  local user = ARGV[5 + i * 2]
  cause = ARGV[6 + i * 2]
  local status, connections = KEYS[6 + i * 2], KEYS[7 + i * 2]
  local last = redis.call('ZRANGE', connections, -1, -1, 'WITHSCORES')
  local deadline = tonumber(last[2] or redis.call('ZSCORE', KEYS[2], user) or 0)
  reply[#reply + 1] = '0'
  if deadline > now then
    redis.call('ZADD', KEYS[2], ms(deadline), user)
    update_idle(user, status, connections) -- a device that was not idle may be gone
  else
    -- Each of these three entries shows that the user was announced as online. Another
    -- program may have deleted one or two of them.
    local found = redis.call('ZREM', KEYS[2], user) + redis.call('DEL', connections)
    if redis.call('SREM', KEYS[1], user) + found > 0 then
      local last_seen = redis.call('HGET', status, 'last_seen')
        or (deadline > 0 and deadline - ttl or now) -- 0: only the set knew the user
      reply[#reply] = transition(user, 'offline', status, tonumber(last_seen), offline_ttl)
    end
  end
end

reply[1] = needs_drain()
return reply
