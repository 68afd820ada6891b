-- Purpose: whether fresh snapshots are owed: shards were away, or entries of the outbox
--          are gone that no drainer has taken (deleted, evicted, or cut where nobody
--          drained). Records the latter as owed.
-- KEYS:    1 outbox, 2 number of entries that drainers took from it, 3 owed
-- ARGV:    1 number of this shard, 2 entries that the outbox holds at most, 3 '1' where
--          the caller has run this before, so that the number must be there
-- Returns: 1 where snapshots are owed, else 0

local length = redis.call('XLEN', KEYS[1])
local gone = redis.call('EXISTS', KEYS[1]) == 1 and gone_from(KEYS[1]) or 0
local known = redis.call('GET', KEYS[2])
local taken = tonumber(known or 0)

local deleted = gone < taken or (not known and ARGV[3] == '1')
-- Else a drainer of an older version took them, and did not count.
local cut = gone > taken and length >= ARGV[2] * 0.9
if deleted or cut then redis.call('SADD', KEYS[3], ARGV[1]) end
if not known or gone ~= taken then redis.call('SET', KEYS[2], gone) end

return redis.call('EXISTS', KEYS[3])
