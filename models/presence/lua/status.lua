-- Purpose: read the real status of a user. Loaded after clock.lua. Returns 1 if online
--          else 0, updated_at, last_seen, idle_since, active_since; or an error.
-- Another program may have stored a value under this key: the user has no times then. If
-- Redis has lost state, updated_at is at least the time of the loss, the epoch. Then
-- active_since is the time that the outbox entries have, if the user was never idle.

local function real_status(online_users, status, user, epoch)
  local times = redis.pcall('HMGET', status,
    'updated_at', 'last_seen', 'idle_since', 'active_since')
  if times.err then
    if not times.err:find('WRONGTYPE') then return times end
    times = {false, false, false, false}
  end
  local online = redis.call('SISMEMBER', online_users, user)
  if epoch and (tonumber(times[1]) or 0) < tonumber(epoch) then
    if online == 0 then
      times[2] = false -- as for a user whose hash is lost
    elseif not times[3] and not times[4] then
      times[4] = times[1]
    end
    times[1] = epoch
  end
  return online, times[1], times[2], times[3], times[4]
end
