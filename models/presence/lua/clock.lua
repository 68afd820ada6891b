-- Purpose: what every script begins with: the one clock, and how a time is written.
--          Loaded in front of each of them.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms(number)
  return string.format('%.0f', number)
end
