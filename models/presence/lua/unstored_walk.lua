-- Purpose: note how far the walk through all users has got. Refused if the walk was begun
--          anew in the meantime.
-- KEYS:    1 state of the unstored transitions
-- ARGV:    1 where the walk stood, '' at its beginning, 2 where it stands now
-- Returns: 1, or 0 if refused

if (redis.call('HGET', KEYS[1], 'walk') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'walk', ARGV[2])
return 1
