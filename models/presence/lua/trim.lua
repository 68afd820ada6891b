-- Purpose: delete what a gateway has read from its stream, and count the messages that have
--          left the stream since it began. If this is not the number that the gateway
--          has read, it has lost messages: the stream was deleted, evicted or cut.
-- KEYS:    1 event stream of a gateway
-- ARGV:    1 smallest id that the gateway has not read
-- Returns: number of messages that have left the stream

local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 0 end
if kind ~= 'stream' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
return gone_from(KEYS[1])
