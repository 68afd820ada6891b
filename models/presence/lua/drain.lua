-- Purpose: acknowledge published entries, take or renew the drainer's lease, and read the
--          oldest entries. One step, so that two drainers never get the same entries.
-- KEYS:    1 outbox, 2 drainer, 3 number of entries that drainers have taken,
--          4 unstored transitions, 5 their state,
--          then per webhook receiver: changed users, state
-- ARGV:    1 the caller's token, 2 lease (ms), 3 maximum of entries, 0 to read none,
--          then what acknowledge.lua reads
-- Returns: the oldest entries, each {id, {field, value, ...}}; -1 if there is another
--          drainer

acknowledge(4)

local holder = redis.call('GET', KEYS[2])
if holder and holder ~= 'requested' and holder ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
if ARGV[3] == '0' then return {} end
return redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])
