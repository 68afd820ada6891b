-- Purpose: acknowledge published entries, and give up the drainer's lease if the outbox is
--          empty. One step: either the drainer sees a new entry, or the script that adds
--          it sees that there is no drainer and has a drain requested.
-- KEYS:    1 outbox, 2 drainer, 3 number of entries that drainers have taken
-- ARGV:    1 the caller's token, 2 '1' to give the lease up in any case,
--          then per published entry: its id
-- Returns: 1 if the caller is no longer the drainer, 0 if there is more to drain

if ARGV[3] then redis.call('INCRBY', KEYS[3], redis.call('XDEL', KEYS[1], unpack(ARGV, 3))) end

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 1 end
if ARGV[2] ~= '1' and redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[2])
return 1
