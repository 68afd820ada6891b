-- Purpose: give a deadline to online users without one, so that a later sweep finds them.
--          Scripts never leave such a user: another program deleted the deadlines, or only
--          a part of the state came back. Checks nobody if both sets have the same size.
-- KEYS:    1 online_users, 2 deadlines, 3 sweeps
-- ARGV:    1 online TTL (ms), 2 about how many users to check
-- Returns: number of users that got a deadline, which is now + TTL

if redis.call('SCARD', KEYS[1]) <= redis.call('ZCARD', KEYS[2]) then return 0 end

-- Continue where the last sweep stopped: a million users take several sweeps.
local cursor = redis.call('HGET', KEYS[3], 'adopted_up_to') or '0'
local found = redis.call('SSCAN', KEYS[1], cursor, 'COUNT', ARGV[2])
redis.call('HSET', KEYS[3], 'adopted_up_to', found[1])

local adopted = 0
for _, user in ipairs(found[2]) do
  adopted = adopted + redis.call('ZADD', KEYS[2], 'NX', ms(now + ARGV[1]), user)
end
return adopted
