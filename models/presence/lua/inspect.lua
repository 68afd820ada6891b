-- Purpose: read all that is stored about one user, for debugging. Changes nothing.
-- KEYS:    1 online_users, 2 epoch, 3 outbox, 4 status, 5 connections
-- ARGV:    1 user id, 2 number of outbox entries to look through, the oldest first
-- Returns: {now, epoch or '0', what real_status returns,
--          {status, updated_at, ids of idle connections} as stored, false where missing,
--          {per connection: id, deadline}, {per waiting transition: status, timestamp}}

-- Another program may have stored a value under a key of this user: it counts as empty.
local function read(...)
  local reply = redis.pcall(...)
  if reply.err and reply.err:find('WRONGTYPE') then return {} end
  return reply
end

local stored = read('HMGET', KEYS[4], 'status', 'updated_at', 'idle_connections')
local held = read('ZRANGE', KEYS[5], 0, -1, 'WITHSCORES')
if stored.err or held.err then return stored.err and stored or held end

local waiting = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', ARGV[2])) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  -- Entries of a detail or of a visibility change are no transitions.
  if fields.user_id == ARGV[1] and fields.timestamp
    and (fields.status == 'online' or fields.status == 'offline') then
    waiting[#waiting + 1] = fields.status
    waiting[#waiting + 1] = fields.timestamp
  end
end

local epoch = redis.call('GET', KEYS[2])
local online, updated_at, last_seen, idle_since, active_since =
  real_status(KEYS[1], KEYS[4], ARGV[1], epoch)
if type(online) == 'table' then return online end
return {
  ms(now), epoch or '0',
  {online, updated_at, last_seen, idle_since, active_since},
  {stored[1] or false, stored[2] or false, stored[3] or false},
  held, waiting
}
