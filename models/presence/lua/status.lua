-- Purpose: read the real status of a user. Loaded after clock.lua. Returns 1 if online
--          else 0, updated_at, last_seen, idle_since, active_since; or an error.
-- Another program may have stored a value under this key: the user has no times then. If
-- Redis has lost state, updated_at is at least the time of the loss, the epoch.

local function real_status(online_users, status, user, epoch)
  local times = redis.pcall('HMGET', status,
    'updated_at', 'last_seen', 'idle_since', 'active_since')
  if times.err then
    if not times.err:find('WRONGTYPE') then return times end
    times = {false, false, false, false}
  end
  local online = redis.call('SISMEMBER', online_users, user)
  if epoch and (tonumber(times[1]) or 0) < tonumber(epoch) then
    times[1] = epoch
    if online == 0 then times[2] = false end -- as for a user whose hash is lost
  end
  return online, times[1], times[2], times[3], times[4]
end
