-- Purpose: what every script begins with: the one clock, how a time is written, how a
--          connection that has ended, and has its grace, is told from one that is open,
--          and how long connections are kept. Loaded in front of each of them.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms(number)
  return string.format('%.0f', number)
end

local RELEASED = ':released'

local function is_open(connection)
  return connection:sub(-#RELEASED) ~= RELEASED
end

-- Connections expire by themselves, should nobody ever take them away. Heartbeats put that
-- off in one TTL of four, each user in his own: a live connection has one in any TTL, so
-- five at most lie between two of those. To do it each time took 6 % of a heartbeat.
local TURNS, KEPT_TTLS = 4, 6

local function keep(connections, ttl)
  redis.call('PEXPIRE', connections, KEPT_TTLS * ttl)
end
