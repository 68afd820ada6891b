-- Purpose: read the state of a shard in a few numbers. Changes nothing.
-- KEYS:    1 online_users, 2 gateways, 3 outbox, 4 sweeps, 5 epoch, 6 unstored transitions,
--          7 crowds
-- ARGV:    none
-- Returns: {now, users online, gateways, overdue gateways, changes in outbox and crowds,
--          since when sweeps hold, how many holds there were,
--          when the last sweep ran, epoch, unstored transitions}. '0' if unknown.

return {
  ms(now),
  redis.call('SCARD', KEYS[1]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCOUNT', KEYS[2], '-inf', ms(now)),
  redis.call('XLEN', KEYS[3]) + redis.call('XLEN', KEYS[7]),
  redis.call('HGET', KEYS[4], 'held_since') or '0',
  redis.call('HGET', KEYS[4], 'holds') or '0',
  redis.call('HGET', KEYS[4], 'last') or '0',
  redis.call('GET', KEYS[5]) or '0',
  redis.call('TYPE', KEYS[6]).ok == 'stream' and redis.call('XLEN', KEYS[6]) or 0
}
