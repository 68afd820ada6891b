-- Purpose: read the status of many users in one call. Changes nothing.
-- KEYS:    1 online_users, then per user: status
-- ARGV:    per user: user id
-- Returns: per user: 1 if online else 0, updated_at or false, last_seen or false

local reply = {}
for i, user in ipairs(ARGV) do
  local times = redis.call('HMGET', KEYS[1 + i], 'updated_at', 'last_seen')
  local at = (i - 1) * 3
  reply[at + 1] = redis.call('SISMEMBER', KEYS[1], user)
  reply[at + 2], reply[at + 3] = times[1], times[2]
end
return reply
