-- Purpose: take the next number of a user's sequence, for a change of visibility, and read
--          the real status. A later transition has a greater number.
-- KEYS:    1 online_users, 2 epoch, 3 status
-- ARGV:    1 user id, 2 offline TTL (ms)
-- Returns: {number (ms), now, epoch or '0', 1 if online else 0, updated_at, last_seen,
--          idle_since, active_since}. Times are false if there are none.

local epoch = redis.call('GET', KEYS[2])
local exists = redis.call('EXISTS', KEYS[3]) == 1
local number = math.max(last_number(KEYS[3]) + 1, now)
redis.call('HSET', KEYS[3], 'sequence', number)
if not exists then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
return {ms(number), ms(now), epoch or '0', real_status(KEYS[1], KEYS[3], ARGV[1], epoch)}
