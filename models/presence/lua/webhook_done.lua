-- Purpose: a webhook receiver has accepted a batch. Forget its users, unless they have
--          changed since the batch was made.
-- KEYS:    1 changed users, 2 state, then per user of the batch: status
-- ARGV:    1 batch id, then per user: user id, number that was sent
-- Returns: number of users who stay

local stay = 0
for i = 1, #KEYS - 2 do
  local user, sent = ARGV[i * 2], ARGV[i * 2 + 1]
  if newest(KEYS[2 + i]) == sent then
    redis.call('ZREM', KEYS[1], user)
  else
    stay = stay + redis.call('ZADD', KEYS[1], 'XX', 'CH', ms(sent + 1), user)
  end
end
if redis.call('HGET', KEYS[2], 'batch_id') == ARGV[1] then
  redis.call('HDEL', KEYS[2], 'batch_id', 'batch')
end
redis.call('HDEL', KEYS[2], 'failures', 'failing_since', 'next_at', 'last_error')
redis.call('HINCRBY', KEYS[2], 'successes', 1)
return stay
