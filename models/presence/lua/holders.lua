-- Purpose: find which gateways hold the users, by the connections that Redis knows. The
--          cost depends on the number of users, not of gateways. Changes nothing.
-- KEYS:    per user: connections
-- ARGV:    none
-- Returns: {id of a gateway, {number of the first user it holds, second, ...}, ...},
--          users numbered from 0

local held, reply = {}, {}

for i, connections in ipairs(KEYS) do
  -- Another program may have stored a value under this key: skip only this user.
  local found = redis.pcall('ZRANGE', connections, 0, -1)
  if found.err then
    if not found.err:find('WRONGTYPE') then return found end
    found = {}
  end
  for _, connection in ipairs(found) do
    local gateway = connection:match('^(.*):')
    if gateway and is_open(connection) then
      local here = held[gateway]
      if not here then
        here = {}
        held[gateway] = here
        reply[#reply + 1], reply[#reply + 2] = gateway, here
      end
      if here[#here] ~= i - 1 then here[#here + 1] = i - 1 end
    end
  end
end

return reply
