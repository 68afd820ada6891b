-- Purpose: give up the sender's lease for a webhook receiver.
-- KEYS:    1 lease
-- ARGV:    1 the caller's token
-- Returns: 1 if the caller had the lease, else 0

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
