-- Purpose: read the statuses of many users in one call. Changes nothing.
-- KEYS:    1 online_users, 2 epoch, then per user: status
-- ARGV:    per user: user id
-- Returns: {now, epoch or '0', per user: 1 if online else 0, updated_at, last_seen,
--          then for users with activity only: their number from 0, idle_since,
--          active_since}. Times are false if there are none.

local epoch = redis.call('GET', KEYS[2])
local reply, activities = {ms(now), epoch or '0'}, {}
for i, user in ipairs(ARGV) do
  local online, updated_at, last_seen, idle_since, active_since =
    real_status(KEYS[1], KEYS[2 + i], user, epoch)
  if type(online) == 'table' then return online end
  local at = i * 3
  reply[at], reply[at + 1], reply[at + 2] = online, updated_at, last_seen
  if idle_since or active_since then
    activities[#activities + 1] = {i - 1, idle_since, active_since}
  end
end
local at = #ARGV * 3 + 2
for i, activity in ipairs(activities) do
  for j = 1, 3 do reply[at + i * 3 - 3 + j] = activity[j] end
end
return reply
