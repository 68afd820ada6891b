-- Purpose: find what a sweep has to do. The cost depends on the number of due users,
--          and not on the number of online users. Changes nothing.
-- KEYS:    1 deadlines, 2 gateways
-- ARGV:    1 maximum of users
-- Returns: {{user ids whose deadline has passed}, {ids of dead gateways}}

return {
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now), 'LIMIT', 0, ARGV[1]),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms(now))
}
