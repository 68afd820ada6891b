-- Purpose: read the statuses of many users in one call. Changes nothing.
-- KEYS:    1 online_users, 2 epoch, then per user: status
-- ARGV:    per user: user id
-- Returns: {now, epoch or '0', per user: 1 if online else 0, updated_at (at least the epoch) or false,
--          last_seen or false}

local epoch = redis.call('GET', KEYS[2])
local reply = {ms(now), epoch or '0'}
for i, user in ipairs(ARGV) do
  -- Another program may have stored a value under this key: this user has no times then.
  local times = redis.pcall('HMGET', KEYS[2 + i], 'updated_at', 'last_seen')
  if times.err then
    if not times.err:find('WRONGTYPE') then return times end
    times = {false, false}
  end
  local at = i * 3 - 1
  reply[at + 1] = redis.call('SISMEMBER', KEYS[1], user)
  local updated_at = times[1]
  local last_seen = times[2]
  if epoch and (tonumber(updated_at) or 0) < tonumber(epoch) then
    updated_at = epoch
    if reply[at + 1] == 0 then last_seen = false end -- as for a user whose hash is lost
  end
  reply[at + 2], reply[at + 3] = updated_at, last_seen
end
return reply
