-- Purpose: a webhook receiver is to hear of all users. Add a page of them, and note how far
--          the walk has got. Refused if the walk was begun anew in the meantime.
-- KEYS:    1 changed users, 2 state
-- ARGV:    1 where the walk stood, '' at its beginning, 2 where it stands then,
--          then per user: user id
-- Returns: 1, or 0 if refused

if (redis.call('HGET', KEYS[2], 'walk') or '') ~= ARGV[1] then return 0 end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], 'LT', 0, ARGV[i]) end
redis.call('HSET', KEYS[2], 'walk', ARGV[2])
return 1
