-- Purpose: acknowledge published entries, and give up the drainer's lease if the outbox is
--          empty. One step: either the drainer sees a new entry, or the script that adds
--          it sees that there is no drainer and has a drain requested.
-- KEYS:    1 outbox, 2 drainer, 3 number of entries that drainers have taken,
--          4 unstored transitions, 5 their state,
--          then per webhook receiver: changed users, state
-- ARGV:    1 the caller's token, 2 '1' to give the lease up in any case,
--          then what acknowledge.lua reads
-- Returns: 1 if the caller is no longer the drainer, 0 if there is more to drain

acknowledge(3)

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 1 end
if ARGV[2] ~= '1' and redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[2])
return 1
