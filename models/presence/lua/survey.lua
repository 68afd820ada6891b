-- Purpose: find what a sweep must know before it expires anybody. Also records when sweeps
--          ran: a gap means that Redis or the sweeps stood still.
-- KEYS:    1 deadlines, 2 gateways, 3 online_users, 4 sweeps, 5 epoch
-- ARGV:    1 longest time between two sweeps that is not a gap (ms)
-- Returns: {now, since when there was no gap, since when sweeps hold or '0',
--          users due, online users, gateways, epoch or '0', {ids of overdue gateways}}

local last = tonumber(redis.call('HGET', KEYS[4], 'last'))
if not last or now - last > tonumber(ARGV[1]) or now < last then
  redis.call('HSET', KEYS[4], 'no_gap_since', ms(now))
end
redis.call('HSET', KEYS[4], 'last', ms(now))

return {
  ms(now),
  redis.call('HGET', KEYS[4], 'no_gap_since'),
  redis.call('HGET', KEYS[4], 'held_since') or '0',
  redis.call('ZCOUNT', KEYS[1], '-inf', ms(now)),
  redis.call('SCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('GET', KEYS[5]) or '0',
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms(now))
}
