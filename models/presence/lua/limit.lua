-- Purpose: count one call against a limit of N calls per window, unless it is one too many.
--          N calls may come at once. After that, one more is allowed each window / N.
-- KEYS:    1 the time (ms) at which the limit is unused again
-- ARGV:    1 N, 2 window (ms)
-- Returns: 0 if the call is allowed, else in how many ms one is allowed. Such a call is not
--          counted. The key expires when the limit is unused.

local interval = ARGV[2] / ARGV[1]
local unused_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + interval
local wait = unused_at - ARGV[2] - now
if wait > 0 then
  return math.ceil(wait)
end
local left = math.ceil(unused_at - now)
redis.call('SET', KEYS[1], string.format('%.3f', unused_at), 'PX', left)
return 0
