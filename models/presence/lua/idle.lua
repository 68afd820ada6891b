-- Purpose: decide whether a user is idle. Loaded after transition.lua. A user is idle if
--          all live connections are idle. A closed connection is live until its grace
--          ends. So if a page is reloaded, its user does not become idle for a moment.
-- The status hash has the ids of the idle connections in one text, each between two spaces.
-- A user without an idle connection does not have this field.

local function split(text)
  local found = {}
  for connection in (text or ''):gmatch('%S+') do found[connection] = true end
  return found
end

local function update_idle(user, status, connections, changed)
  local stored = redis.call('HMGET', status, 'idle_connections', 'idle_since')
  if not stored[1] and not changed then return end
  local idle = changed or split(stored[1])
  local all, kept = true, {}
  for _, connection in ipairs(
    redis.call('ZRANGEBYSCORE', connections, '(' .. ms(now), '+inf')) do
    local name = is_open(connection) and connection or connection:sub(1, -#RELEASED - 1)
    if idle[name] then kept[#kept + 1] = name else all = false end
  end
  local before = stored[2] and true or false
  local after = all and #kept > 0
  local text = #kept > 0 and ' ' .. table.concat(kept, ' ') .. ' '
  if text then
    redis.call('HSET', status, 'idle_connections', text)
  else
    redis.call('HDEL', status, 'idle_connections')
  end
  if before == after then return end
  redis.call('HDEL', status, after and 'active_since' or 'idle_since')
  redis.call('HSET', status, after and 'idle_since' or 'active_since', ms(now))
  add_detail_entry(user, status, 'activity')
end

-- Note whether the person at one connection is idle.
local function set_idle(user, status, connections, connection, is_idle)
  local text = redis.call('HGET', status, 'idle_connections')
  local idle = split(text)
  if text and true or is_idle then
    idle[connection] = is_idle or nil
    update_idle(user, status, connections, idle)
  end
end
