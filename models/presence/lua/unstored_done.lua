-- Purpose: forget transitions that are stored in SQL now.
-- KEYS:    1 unstored transitions, 2 their state
-- ARGV:    ids of the entries
-- Returns: number of entries that were there

local gone = redis.call('XDEL', KEYS[1], unpack(ARGV))
redis.call('HINCRBY', KEYS[2], 'stored', gone)
return gone
