-- Purpose: read the real statuses of users, with the newest number of each sequence, as
--          webhooks tell it. Changes nothing.
-- KEYS:    1 online_users, 2 epoch, then per user: status
-- ARGV:    per user: user id
-- Returns: {now, epoch or '0', per user: newest number, 1 if online else 0, updated_at,
--          last_seen, idle_since, active_since}. The number is 0 if nothing is stored.
--          Times are false if there are none.

local epoch = redis.call('GET', KEYS[2])
local reply = {ms(now), epoch or '0'}
for i, user in ipairs(ARGV) do
  local status = {real_status(KEYS[1], KEYS[2 + i], user, epoch)}
  if type(status[1]) == 'table' then return status[1] end
  local at = i * 6 - 3
  reply[at] = newest(KEYS[2 + i])
  for j = 1, 5 do reply[at + j] = status[j] end
end
return reply
