-- Purpose: how many entries have left a stream, for whatever reason. Loaded after clock.lua
--          in front of the scripts that check for lost entries.
-- Source:  `entries-added` of XINFO STREAM, in Redis since 7.0

local function gone_from(stream)
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then return info[i + 1] - redis.call('XLEN', stream) end
  end
end
