-- Purpose: give up a lease: that of a webhook receiver's sender, or that for storing
--          transitions.
-- KEYS:    1 lease
-- ARGV:    1 the caller's token
-- Returns: 1 if the caller had the lease, else 0

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
