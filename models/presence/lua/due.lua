-- Purpose: find what a sweep has to do, at a cost that follows what is due, never the
--          number of users who are online. Changes nothing.
-- KEYS:    1 deadlines, 2 gateways
-- ARGV:    1 most users
-- Returns: {{user ids whose deadline has passed}, {ids of dead gateways}}

return {
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now), 'LIMIT', 0, ARGV[1]),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms(now))
}
