-- Purpose: find whether users missed transitions and need fresh snapshots. Either shards
--          did not answer, or entries left the outbox without a drainer (deleted, evicted,
--          or cut off because no worker drained). Records the second case.
-- KEYS:    1 outbox, 2 number of entries that drainers have taken, 3 missed
-- ARGV:    1 number of this shard, 2 maximum of entries in the outbox, 3 '1' if the caller
--          has run this script before, so that KEYS 2 must exist
-- Returns: 1 if users missed transitions, else 0

local length = redis.call('XLEN', KEYS[1])
local gone = redis.call('EXISTS', KEYS[1]) == 1 and gone_from(KEYS[1]) or 0
local known = redis.call('GET', KEYS[2])
local taken = tonumber(known or 0)

local deleted = gone < taken or (not known and ARGV[3] == '1')
-- A shorter outbox was not cut: a drainer of an older version does not count what it takes.
local cut = gone > taken and length >= ARGV[2] * 0.9
if deleted or cut then redis.call('SADD', KEYS[3], ARGV[1]) end
if not known or gone ~= taken then redis.call('SET', KEYS[2], gone) end

return redis.call('EXISTS', KEYS[3])
