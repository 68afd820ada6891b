-- Purpose: become the one who drains the outbox, or stay it.
-- KEYS:    1 drainer
-- ARGV:    1 the caller's token, 2 lease (ms)
-- Returns: 1 where the caller holds the lease now, 0 where another does

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= 'requested' and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
