-- Purpose: stop draining, but only an empty outbox. In one step, so that an entry is
--          either seen by the drainer or by its writer, who then starts another drain.
-- KEYS:    1 outbox, 2 drainer, 3 number of entries that drainers took from the outbox
-- ARGV:    1 the caller's token, 2 '1' to stop whatever is left,
--          then per entry that was published: its id
-- Returns: 1 where the caller has stopped, 0 where there is more to drain

if ARGV[3] then redis.call('INCRBY', KEYS[3], redis.call('XDEL', KEYS[1], unpack(ARGV, 3))) end

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 1 end
if ARGV[2] ~= '1' and redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[2])
return 1
