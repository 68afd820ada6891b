-- Purpose: take or renew the lease for storing transitions in SQL, and read the oldest of
--          those that are not stored. Loaded after clock.lua and stream.lua.
-- KEYS:    1 lease, 2 unstored transitions, 3 their state, 4 epoch
-- ARGV:    1 the caller's token, 2 lease (ms), 3 an id: read only entries after it, 4 maximum
-- Returns: {now, epoch or '0', walk or '', entries}, each entry {id, {field, value, ...}};
--          {} if another process has the lease
-- If entries have left the stream and nobody has stored them, the walk begins anew.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])

local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'stream' and kind ~= 'none' then redis.call('DEL', KEYS[2]) end
local gone = kind == 'stream' and gone_from(KEYS[2]) or 0
if gone ~= tonumber(redis.call('HGET', KEYS[3], 'stored') or 0) then
  redis.call('HDEL', KEYS[3], 'walk')
  redis.call('HSET', KEYS[3], 'stored', gone)
end
return {
  ms(now),
  redis.call('GET', KEYS[4]) or '0',
  redis.call('HGET', KEYS[3], 'walk') or '',
  redis.call('XRANGE', KEYS[2], '(' .. ARGV[3], '+', 'COUNT', ARGV[4])
}
