-- Purpose: the beginning of every script: the one clock, the text form of a time, open
--          and released connections, and the TTL of a user's connections.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms(number)
  return string.format('%.0f', number)
end

local RELEASED = ':released'

local function is_open(connection)
  return connection:sub(-#RELEASED) ~= RELEASED
end

-- The connections of a user expire by themselves if no script removes them. An extension
-- of this TTL at each heartbeat would take 6 % of the script's time. So time is divided
-- into turns of one online TTL. A heartbeat extends the TTL only in every fourth turn, not
-- in the same turn for all users. A connection sends a heartbeat in each turn. So at most
-- five online TTLs pass between two extensions.
local TURNS, KEPT_TTLS = 4, 6

local function keep(connections, ttl)
  redis.call('PEXPIRE', connections, KEPT_TTLS * ttl)
end
