-- Purpose: note which connections are idle. If their user becomes idle or active by this,
--          the change goes into the outbox. Skips a connection that Redis does not know:
--          its gateway registers it again, and then also says whether it is idle.
-- KEYS:    1 online_users, 2 deadlines, 3 outbox, 4 drainer,
--          then per connection: status, connections
-- ARGV:    1 JSON array, per connection: user id, connection id, 1 if idle, else 0,
--          cause
-- Returns: 1 if the caller must request a drain, else 0

local changed = cjson.decode(ARGV[1])
for i = 0, #changed / 4 - 1 do
  local user, connection = changed[1 + i * 4], changed[2 + i * 4]
  cause = changed[4 + i * 4]
  local status, connections = KEYS[5 + i * 2], KEYS[6 + i * 2]
  if redis.call('SISMEMBER', KEYS[1], user) == 1
    and redis.call('ZSCORE', connections, connection) then
    set_idle(user, status, connections, connection, changed[3 + i * 4] == 1)
  end
end
return needs_drain()
