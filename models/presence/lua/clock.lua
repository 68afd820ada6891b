-- Purpose: what every script begins with: the one clock, how a time is written, and how
--          a connection that has ended, and has its grace, is told from one that is open.
--          Loaded in front of each of them.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms(number)
  return string.format('%.0f', number)
end

local RELEASED = ':released'

local function is_open(connection)
  return connection:sub(-#RELEASED) ~= RELEASED
end
