-- Purpose: the newest number of a user's sequence as text, for webhooks. Loaded after
--          transition.lua. Another program may have stored a value of another type under
--          this key: the number is 0 then, as if nothing was stored.

local function newest(status_key)
  if redis.call('TYPE', status_key).ok ~= 'hash' then return '0' end
  return ms(last_number(status_key))
end
