-- Purpose: take or renew the sender's lease for a webhook receiver, and read what is to be
--          sent: the batch that was tried last, and the users who changed longest ago.
-- KEYS:    1 lease, 2 changed users, 3 state, 4 epoch
-- ARGV:    1 the caller's token, 2 lease (ms), 3 maximum of users
-- Returns: {now, epoch or '0', when it was disabled, failures in a row, when these began,
--          when to try again, last error, walk, batch id, batch, {user id, number, ...}}.
--          What is not set is false. {} if there is another sender

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])

local state = redis.call('HMGET', KEYS[3], 'disabled', 'failures', 'failing_since',
  'next_at', 'last_error', 'walk', 'batch_id', 'batch')
state[9] = {}
if not state[1] and tonumber(state[4] or 0) <= now then
  state[9] = redis.call('ZRANGE', KEYS[2], 0, ARGV[3] - 1, 'WITHSCORES')
end
return {ms(now), redis.call('GET', KEYS[4]) or '0', unpack(state, 1, 9)}
