-- Purpose: acknowledge what was published, become the one who drains the outbox or stay
--          it, and look what there is. One step: what one drainer does not get, another
--          may.
-- KEYS:    1 outbox, 2 drainer, 3 number of entries that drainers took from the outbox
-- ARGV:    1 the caller's token, 2 lease (ms), 3 most entries, 0 to look at none,
--          then per entry that was published: its id
-- Returns: the oldest entries, each {id, {field, value, ...}}; -1 where another drains

if ARGV[4] then redis.call('INCRBY', KEYS[3], redis.call('XDEL', KEYS[1], unpack(ARGV, 4))) end

local holder = redis.call('GET', KEYS[2])
if holder and holder ~= 'requested' and holder ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
if ARGV[3] == '0' then return {} end
return redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])
